package conf

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumented compares docs/configuration.md with the keys of the blocks that Weir reads. Each is named where its section describes it or among
// those without effect, or it is refused and stands in the table of these; and no row is about anything else.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := sectionsOf(string(text))
	for _, b := range documentedBlocks() {
		named := map[string]bool{}
		for _, title := range append(b.sections, "Accepted without effect") {
			if doc[title] == nil {
				t.Fatalf("no section %q", title)
			}
			doc[title].names(named)
		}
		refused := map[string]bool{}
		doc["Refused"].names(refused)
		for _, key := range canonicalNames[b.name] {
			switch handled := slices.Contains(b.handled, key); {
			case handled && !named[key]:
				t.Errorf("block %s: %q is read and not in %q", b.name, key, b.sections)
			case !handled && !refused[key]:
				t.Errorf("block %s: %q is refused and not in the table that says so", b.name, key)
			}
		}
	}
	doc.checkRows(t)
}

// documentedBlock is a block of options.csv, the keys of it that are read, and the sections that describe them.
type documentedBlock struct {
	name     string
	handled  []string
	sections []string
}

func documentedBlocks() []documentedBlock {
	const accounts = "Users and accounts"
	return []documentedBlock{
		{blockTop, keysOf(topSchema()), []string{"Server", "Limits", "Logging", accounts, "Subject mappings", "Cluster", "JetStream"}},
		{blockAuthorization, keysOf(authorizationSchema()), []string{accounts}},
		{blockUser, keysOf(userSchema()), []string{accounts}},
		{blockPermissions, keysOf(permissionsSchema()), []string{accounts}},
		{blockAccount, keysOf(accountSchema()), []string{accounts, "Exports and imports", "Subject mappings"}},
		{blockAccountLimits, keysOf(accountLimitsSchema()), []string{accounts}},
		{blockAccountJetStream, keysOf(accountJetStreamSchema()), []string{accounts}},
		{blockExports, keysOf(exportSchema()), []string{"Exports and imports"}},
		{blockImports, keysOf(importSchema()), []string{"Exports and imports"}},
		{blockMappings, keysOf(destinationSchema()), []string{"Subject mappings"}},
		{blockCluster, keysOf(clusterSchema()), []string{"Cluster"}},
		{blockJetStream, keysOf(jetStreamSchema()), []string{"JetStream"}},
		{blockJetStreamLimits, keysOf(jetStreamLimitsSchema()), []string{"JetStream"}},
		{blockBatchLimits, keysOf(batchLimitsSchema()), []string{"JetStream"}},
	}
}

// document is a text of Markdown by the titles of its sections.
type document map[string]*section

// section is the text below a title and, of its tables, the first cells of the rows below a head that begins with "key".
type section struct {
	text string
	rows []string
}

func sectionsOf(text string) document {
	doc := document{}
	title, ofKeys := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			title = strings.TrimLeft(line, "# ")
			doc[title] = &section{}
			continue
		}
		s := doc[title]
		s.text += line + "\n"
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			ofKeys = false
			continue
		}
		switch first := strings.TrimSpace(cells[1]); {
		case first == "key":
			ofKeys = true
		case ofKeys && !strings.HasPrefix(first, "-"):
			s.rows = append(s.rows, first)
		}
	}
	return doc
}

var (
	codeSpan = regexp.MustCompile("`[^`\n]+`")
	keyName  = regexp.MustCompile(`[a-z_0-9]+`)
)

// names adds the words that stand in code in a section.
func (s *section) names(to map[string]bool) {
	for _, code := range append(codeSpan.FindAllString(s.text, -1), fenced(s.text)...) {
		for _, word := range keyName.FindAllString(code, -1) {
			to[word] = true
		}
	}
}

// fenced has the examples of a section.
func fenced(text string) []string {
	var examples []string
	for i, part := range strings.Split(text, "```") {
		if i%2 == 1 {
			examples = append(examples, part)
		}
	}
	return examples
}

// checkRows looks for rows about keys that no block reads.
func (doc document) checkRows(t *testing.T) {
	t.Helper()
	read := map[string]bool{}
	for flag := range flagDefaults {
		read[flag] = true
	}
	for _, b := range documentedBlocks() {
		for _, key := range b.handled {
			read[key] = true
		}
	}
	rows := 0
	for title, s := range doc {
		for _, row := range s.rows {
			rows++
			for _, code := range codeSpan.FindAllString(row, -1) {
				path := strings.Split(strings.Trim(code, "`"), ".")
				if key := path[len(path)-1]; !read[key] {
					t.Errorf("section %q has a row on %q, which is not read", title, key)
				}
			}
		}
	}
	if rows < 50 {
		t.Errorf("only %d rows of keys found", rows)
	}
}
