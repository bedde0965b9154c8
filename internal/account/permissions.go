package account

import (
	"strings"

	"weir/internal/conf"
	"weir/internal/subject"
)

// Permissions say what a user may publish and subscribe. A nil *Permissions
// allows everything. It is immutable.
type Permissions struct {
	conf      *conf.Permissions
	publish   rules
	subscribe rules
}

// rules are the allowed and denied entries. Without allowed ones everything is
// allowed that is not denied, unless none is set.
type rules struct {
	allow, deny []rule
	none        bool
}

// rule is a subject pattern, and for subscriptions perhaps a queue pattern.
type rule struct{ subject, queue string }

func compileRules(p conf.SubjectPermission) rules {
	r := rules{none: p.Allow != nil && len(p.Allow) == 0}
	for _, s := range p.Allow {
		r.allow = append(r.allow, compileRule(s))
	}
	for _, s := range p.Deny {
		r.deny = append(r.deny, compileRule(s))
	}
	return r
}

func compileRule(s string) rule {
	subj, queue, _ := strings.Cut(strings.TrimSpace(s), " ")
	return rule{subj, strings.TrimSpace(queue)}
}

// NewPermissions compiles configured permissions; nil stays nil.
func NewPermissions(c *conf.Permissions) *Permissions {
	if c == nil {
		return nil
	}
	p := &Permissions{conf: c, publish: compileRules(c.Publish), subscribe: compileRules(c.Subscribe)}
	if c.Responses != nil && c.Publish.Allow == nil {
		// Whoever may answer requests may not publish anything else, unless
		// it is allowed by name.
		p.publish.none = true
	}
	return p
}

// Config is what the permissions were made from; nil of nil.
func (p *Permissions) Config() *conf.Permissions {
	if p == nil {
		return nil
	}
	return p.conf
}

// CanPublish tells whether a message may be published to the subject.
func (p *Permissions) CanPublish(subj string) bool {
	if p == nil {
		return true
	}
	return !p.publish.none && allowed(p.publish.allow, subj) && !denied(p.publish.deny, subj, "")
}

func allowed(allow []rule, literal string) bool {
	for _, r := range allow {
		if subject.Match(literal, r.subject) {
			return true
		}
	}
	return len(allow) == 0
}

func denied(deny []rule, subj, queue string) bool {
	for _, r := range deny {
		if !subject.Match(subj, r.subject) && !subject.Subset(subj, r.subject) {
			continue
		}
		if r.queue == "" || queue != "" && subject.Match(queue, r.queue) {
			return true
		}
	}
	return false
}

// CanSubscribe tells whether a subscription may be made. The queue is empty for
// a plain one. A wildcard subscription that covers denied subjects among others
// may be made; DeniesDelivery then filters what it gets.
func (p *Permissions) CanSubscribe(subj, queue string) bool {
	if p == nil {
		return true
	}
	return !p.subscribe.none && p.allowsSubscription(subj, queue) && !denied(p.subscribe.deny, subj, queue)
}

// allowsSubscription: an entry without a queue allows every queue, unless other
// entries for the same subject name queues; then the queue must be one of them.
func (p *Permissions) allowsSubscription(subj, queue string) bool {
	plain, named := len(p.subscribe.allow) == 0, false
	for _, r := range p.subscribe.allow {
		if !subject.Subset(subj, r.subject) {
			continue
		}
		switch {
		case r.queue == "":
			plain = true
		case queue != "" && subject.Match(queue, r.queue):
			return true
		default:
			named = true
		}
	}
	return plain && (queue == "" || !named)
}

// Filters tells whether a subscription to subj may match messages that it must
// not get, so that DeniesDelivery has to be asked for each.
func (p *Permissions) Filters(subj string) bool {
	if p == nil || !subject.HasWildcard(subj) {
		return false
	}
	for _, r := range p.subscribe.deny {
		if r.queue == "" && subject.Overlap(subj, r.subject) {
			return true
		}
	}
	return false
}

// DeniesDelivery tells whether a message on the literal subject must be kept
// from the user's wildcard subscriptions.
func (p *Permissions) DeniesDelivery(literal []byte) bool {
	for _, r := range p.subscribe.deny {
		if r.queue == "" && subject.MatchBytes(literal, r.subject) {
			return true
		}
	}
	return false
}

// Responses is the permission to answer requests; nil when there is none.
func (p *Permissions) Responses() *conf.ResponsePermission {
	if p == nil {
		return nil
	}
	return p.conf.Responses
}
