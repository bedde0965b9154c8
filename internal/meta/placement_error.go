package meta

import "strings"

// PlacementError says why there were no suitable peers. Its text is the
// description of the API error 10005.
type PlacementError struct {
	Offline      bool
	ExcludedTag  bool // a server tagged !jetstream
	NoStorage    bool
	NotUnique    bool
	Misc         bool
	NoJetStream  bool
	MissingTags  []string // wanted, nobody had them; without duplicates
	ExcludedTags []string // not wanted but present; without "!"
}

func (e *PlacementError) Error() string {
	var b strings.Builder
	b.WriteString("no suitable peers for placement")
	for _, cause := range []struct {
		seen bool
		text string
	}{
		{e.Offline, "peer offline"},
		{e.ExcludedTag, "exclude tag set"},
		{e.NoStorage, "insufficient storage"},
		{e.NotUnique, "server tag not unique"},
		{e.Misc, "miscellaneous issue"},
		{e.NoJetStream, "jetstream not enabled in cluster"},
	} {
		if cause.seen {
			b.WriteString(", " + cause.text)
		}
	}
	writeTags(&b, "tags not matched", e.MissingTags)
	writeTags(&b, "tags excluded", e.ExcludedTags)
	return b.String()
}

func writeTags(b *strings.Builder, cause string, tags []string) {
	if len(tags) > 0 {
		b.WriteString(", " + cause + " ['" + strings.Join(tags, "', '") + "']")
	}
}

// merge adds the causes of another attempt.
func (e *PlacementError) merge(o *PlacementError) {
	e.Offline = e.Offline || o.Offline
	e.ExcludedTag = e.ExcludedTag || o.ExcludedTag
	e.NoStorage = e.NoStorage || o.NoStorage
	e.NotUnique = e.NotUnique || o.NotUnique
	e.Misc = e.Misc || o.Misc
	e.NoJetStream = e.NoJetStream || o.NoJetStream
	for _, tag := range o.MissingTags {
		addTag(&e.MissingTags, tag)
	}
	for _, tag := range o.ExcludedTags {
		addTag(&e.ExcludedTags, tag)
	}
}

func addTag(tags *[]string, tag string) {
	for _, have := range *tags {
		if have == tag {
			return
		}
	}
	*tags = append(*tags, tag)
}
