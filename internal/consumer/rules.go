package consumer

import (
	"strings"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/subject"
)

// checkDelivery checks how messages get to clients: pushed to a subject, or pulled.
func checkDelivery(c *api.ConsumerConfig, of *api.StreamConfig) *apierr.Error {
	if c.DeliverSubject == "" {
		return checkPull(c, of)
	}
	switch {
	case !subject.Valid(c.DeliverSubject):
		return apierr.JSConsumerInvalidDeliverSubject
	case subject.HasWildcard(c.DeliverSubject):
		return apierr.JSConsumerDeliverToWildcardsErr
	case cycles(c.DeliverSubject, of.Subjects):
		return apierr.JSConsumerDeliverCycleErr
	case c.MaxWaiting != 0:
		return apierr.JSConsumerPushMaxWaitingErr
	case c.AckPolicy == api.AckNone && c.MaxAckPending > 0:
		return apierr.JSConsumerMaxPendingAckPolicyRequiredErr
	case c.Heartbeat > 0 && c.Heartbeat < minHeartbeat:
		return apierr.JSConsumerSmallHeartbeatErr
	case c.FlowControl && c.Heartbeat == 0:
		return apierr.JSConsumerWithFlowControlNeedsHeartbeats
	case c.Direct && c.Durable != "":
		return apierr.JSConsumerDirectRequiresEphemeralErr
	case c.PriorityPolicy != "" || len(c.PriorityGroups) > 0:
		return apierr.JSConsumerPushWithPriorityGroupErr
	}
	return nil
}

func cycles(literal string, subjects []string) bool {
	for _, s := range subjects {
		if subject.Match(literal, s) {
			return true
		}
	}
	return false
}

func checkPull(c *api.ConsumerConfig, of *api.StreamConfig) *apierr.Error {
	switch {
	case c.AckPolicy == api.AckNone && of.Retention == api.WorkQueueRetention:
		return apierr.JSConsumerPullRequiresAckErr
	case c.RateLimit > 0:
		return apierr.JSConsumerPullWithRateLimitErr
	case c.Heartbeat > 0:
		return apierr.JSConsumerHBRequiresPushErr
	case c.FlowControl:
		return apierr.JSConsumerFCRequiresPushErr
	case c.Direct:
		return apierr.JSConsumerDirectRequiresPushErr
	case c.MaxRequestExpires != 0 && c.MaxRequestExpires < minRequestExpires:
		return apierr.JSConsumerMaxRequestExpiresTooSmall
	}
	return nil
}

func checkPriority(c *api.ConsumerConfig, _ *api.StreamConfig) *apierr.Error {
	if c.PriorityPolicy == "" {
		switch {
		case len(c.PriorityGroups) > 0:
			return apierr.JSConsumerPriorityGroupWithPolicyNone
		case c.PinnedTTL > 0:
			return apierr.JSConsumerPinnedTTLWithoutPriorityPolicyNone
		}
		return nil
	}
	if len(c.PriorityGroups) == 0 {
		return apierr.JSConsumerPriorityPolicyWithoutGroup
	}
	for _, group := range c.PriorityGroups {
		if group == "" {
			return apierr.JSConsumerEmptyGroupName
		}
		if len(group) > MaxGroupNameLen || strings.ContainsFunc(group, notInGroupName) {
			return apierr.JSConsumerInvalidGroupNameErr
		}
	}
	return nil
}

func notInGroupName(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_/=)+", r)
}

// checkStart checks that the deliver policy has the start that it needs, and no other.
func checkStart(c *api.ConsumerConfig, _ *api.StreamConfig) *apierr.Error {
	const prefix = "consumer delivery policy is deliver "
	name := strings.ReplaceAll(string(c.DeliverPolicy), "_", " ")
	wantsSeq := c.DeliverPolicy == api.DeliverByStartSequence
	wantsTime := c.DeliverPolicy == api.DeliverByStartTime
	sequence := "start sequence"
	if wantsTime {
		sequence = "start start sequence"
	}
	problem := ""
	switch {
	case c.DeliverPolicy == api.DeliverLastPerSubject && len(c.Filters()) == 0:
		problem = "optional filter subject is not set"
	case wantsSeq && c.OptStartSeq == 0:
		problem = "optional start sequence is not set"
	case wantsTime && c.OptStartTime == nil:
		problem = "optional start time is not set"
	case !wantsSeq && c.OptStartSeq > 0:
		problem = "optional " + sequence + " is also set"
	case !wantsTime && c.OptStartTime != nil:
		problem = "optional start time is also set"
	default:
		return nil
	}
	return apierr.JSConsumerInvalidPolicyErrF(prefix + name + ", but " + problem)
}

func checkFilters(c *api.ConsumerConfig, _ *api.StreamConfig) *apierr.Error {
	if c.FilterSubject != "" && len(c.FilterSubjects) > 0 {
		return apierr.JSConsumerDuplicateFilterSubjects
	}
	var filters subject.Disjoint
	for _, f := range c.Filters() {
		if f == "" {
			return apierr.JSConsumerEmptyFilter
		}
		if !subject.Valid(f) {
			return apierr.JSStreamInvalidConfigF(subject.ErrBadSubject)
		}
		if !filters.Add(f) {
			return apierr.JSConsumerOverlappingSubjectFilters
		}
	}
	return nil
}

func checkWorkQueue(c *api.ConsumerConfig, of *api.StreamConfig) *apierr.Error {
	if of.Retention != api.WorkQueueRetention || c.Direct || c.Sourcing {
		return nil
	}
	switch {
	case c.AckPolicy != api.AckExplicit && c.AckPolicy != api.AckFlowControl:
		return apierr.JSConsumerWQRequiresExplicitAckErr
	case c.DeliverPolicy != api.DeliverAll:
		return apierr.JSConsumerWQConsumerNotDeliverAllErr
	}
	return nil
}
