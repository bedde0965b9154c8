package stream

import (
	"fmt"
	"strings"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/subject"
)

// checkMirror checks a mirror's origin and that the stream has nothing that a mirror can not have.
func checkMirror(c *api.StreamConfig) *apierr.Error {
	m := c.Mirror
	if m == nil {
		return nil
	}
	switch {
	case c.FirstSeq > 0:
		return apierr.JSMirrorWithFirstSeqErr
	case len(c.Subjects) > 0:
		return apierr.JSMirrorWithSubjectsErr
	case len(c.Sources) > 0:
		return apierr.JSMirrorWithSourcesErr
	case c.AllowMsgCounter:
		return apierr.JSMirrorWithCountersErr
	case c.AllowAtomic:
		return apierr.JSMirrorWithAtomicPublishErr
	case c.AllowBatched:
		return apierr.JSMirrorWithBatchPublishErr
	case c.AllowMsgSchedules:
		return apierr.JSMirrorWithMsgSchedulesErr
	case m.FilterSubject != "" && len(m.SubjectTransforms) > 0:
		return apierr.JSMirrorMultipleFiltersNotAllowed
	case c.SubjectDeleteMarkerTTL > 0:
		return invalid("subject delete markers forbidden on mirrors")
	case !validName(m.Name):
		return apierr.JSMirrorInvalidStreamName
	case m.External == nil && m.Name == c.Name:
		return invalid("detected cycle")
	case !validSourceConsumer(m):
		return apierr.JSMirrorDurableConsumerCfgInvalid
	}
	if e := checkTransforms(m.SubjectTransforms, transformErrors{
		source:      apierr.JSMirrorInvalidSubjectFilter,
		destination: apierr.JSMirrorInvalidTransformDestination,
		overlap:     apierr.JSMirrorOverlappingSubjectFilters,
	}); e != nil {
		return e
	}
	return checkExternal(c, m.External)
}

// CheckFilters checks what of the origins is to be copied. It comes behind all other checks.
func CheckFilters(c *api.StreamConfig) *apierr.Error {
	if m := c.Mirror; m != nil && m.FilterSubject != "" && !subject.Valid(m.FilterSubject) {
		return apierr.JSStreamCreateErrF(fmt.Sprintf("subject filter '%s' for the mirror %v", m.FilterSubject, subject.ErrBadSubject))
	}
	for _, s := range c.Sources {
		if s.FilterSubject != "" && !subject.Valid(s.FilterSubject) {
			return apierr.JSStreamCreateErrF(fmt.Sprintf("subject filter '%s' for the source: %v", s.FilterSubject, subject.ErrBadSubject))
		}
	}
	return nil
}

func validName(name string) bool {
	return name != "" && !strings.ContainsAny(name, ".*>/\\ \t\r\n\f")
}

// validSourceConsumer tells whether a consumer that was made beforehand is named in full and decides alone where to start.
func validSourceConsumer(s *api.StreamSource) bool {
	c := s.Consumer
	if c == nil {
		return true
	}
	return validName(c.Name) && subject.ValidLiteral(c.DeliverSubject) && s.OptStartSeq == 0 && s.OptStartTime == nil && s.FilterSubject == ""
}

func checkSources(c *api.StreamConfig) *apierr.Error {
	if len(c.Sources) > 0 && c.AllowMsgSchedules {
		return apierr.JSSourceWithMsgSchedulesErr
	}
	seen := map[string]bool{}
	for _, s := range c.Sources {
		switch {
		case s == nil || !validName(s.Name):
			return apierr.JSSourceInvalidStreamName
		case s.External == nil && s.Name == c.Name:
			return invalid("detected cycle")
		case s.FilterSubject != "" && len(s.SubjectTransforms) > 0:
			return apierr.JSSourceMultipleFiltersNotAllowed
		case !validSourceConsumer(s):
			return apierr.JSSourceDurableConsumerCfgInvalid
		}
		if e := checkTransforms(s.SubjectTransforms, transformErrors{
			source:      apierr.JSSourceInvalidSubjectFilter,
			destination: apierr.JSSourceInvalidTransformDestination,
			overlap:     apierr.JSSourceOverlappingSubjectFilters,
		}); e != nil {
			return e
		}
		if e := checkExternal(c, s.External); e != nil {
			return e
		}
		origin, what := SourceHeader(s)
		switch {
		case seen[origin+" "+what]:
			return apierr.JSSourceDuplicateDetected
		case s.Consumer != nil && seen[origin]:
			return apierr.JSSourceDurableConsumerDuplicateDetected
		}
		seen[origin], seen[origin+" "+what] = true, true
	}
	return nil
}

// OriginKey names an origin for Copy: it is equal for sources that would copy the same messages.
func OriginKey(s *api.StreamSource) string { return sourceKey(s) }

func sourceKey(s *api.StreamSource) string {
	var b strings.Builder
	b.WriteString(s.Name)
	if s.External != nil {
		fmt.Fprintf(&b, "\x00%s\x00%s", s.External.APIPrefix, s.External.DeliverPrefix)
	}
	fmt.Fprintf(&b, "\x01%s", s.FilterSubject)
	for _, t := range s.SubjectTransforms {
		fmt.Fprintf(&b, "\x02%s\x00%s", t.Source, t.Destination)
	}
	if s.Consumer != nil {
		fmt.Fprintf(&b, "\x03%s", s.Consumer.Name)
	}
	return b.String()
}

// SourceHeader is what the header Nats-Stream-Source of a message from an origin begins with, before and behind the message's
// sequence: the origin, and what of it is copied as what. Several filters and destinations are separated by form feeds.
func SourceHeader(s *api.StreamSource) (origin, copied string) {
	origin = s.Name
	if s.External != nil {
		origin += ":" + base.ShortName(s.External.APIPrefix)
	}
	if s.Consumer != nil {
		origin += ":C=" + base.ShortName(s.Consumer.Name)
	}
	filters, destinations := []string{orAll(s.FilterSubject)}, []string{all}
	for i, t := range s.SubjectTransforms {
		if i == 0 {
			filters, destinations = nil, nil
		}
		filters, destinations = append(filters, orAll(t.Source)), append(destinations, orAll(t.Destination))
	}
	return origin, strings.Join(filters, "\f") + " " + strings.Join(destinations, "\f")
}

const all = ">"

func orAll(pattern string) string {
	if pattern == "" {
		return all
	}
	return pattern
}

type transformErrors struct {
	source, destination func(err any) *apierr.Error
	overlap             *apierr.Error
}

func checkTransforms(list []api.SubjectTransform, errs transformErrors) *apierr.Error {
	for i, t := range list {
		if t.Source != "" && !subject.Valid(t.Source) {
			return errs.source("invalid subject " + t.Source)
		}
		if _, err := subject.NewTransform(t.Source, t.Destination); err != nil {
			return errs.destination(err)
		}
		for _, other := range list[:i] {
			if subject.Overlap(t.Source, other.Source) {
				return errs.overlap
			}
		}
	}
	return nil
}

// checkExternal checks the prefixes by which a stream in another account or domain is reached.
func checkExternal(c *api.StreamConfig, x *api.ExternalStream) *apierr.Error {
	if x == nil {
		return nil
	}
	if x.DeliverPrefix != "" {
		if !subject.ValidLiteral(x.DeliverPrefix) {
			return apierr.JSStreamInvalidExternalDeliverySubjErrF(x.DeliverPrefix)
		}
		for _, s := range c.Subjects {
			if subject.Overlap(s, x.DeliverPrefix+".>") {
				return apierr.JSStreamExternalDelPrefixOverlapsErrF(x.DeliverPrefix, s)
			}
		}
	}
	switch {
	case x.APIPrefix == "":
		return nil
	case !subject.ValidLiteral(x.APIPrefix):
		return invalid("stream external api prefix %q must be a valid subject without wildcards", x.APIPrefix)
	case x.APIPrefix == jetStreamAPI:
		return apierr.JSStreamExternalApiOverlapErrF(x.APIPrefix, jetStreamAPI)
	}
	return nil
}
