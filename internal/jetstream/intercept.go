package jetstream

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/meta"
	"weir/internal/router"
	"weir/internal/runner"
	"weir/internal/subject"
	"weir/internal/wire"
)

// Intercept takes the JetStream requests of the account's clients on this node.
func (n *Node) Intercept(acc *account.Account) error {
	for _, subj := range n.intercepts() {
		if _, err := n.cfg.Router.Subscribe(acc, subj, "", n.intercepted, router.SubOptions{Local: true}); err != nil {
			return err
		}
	}
	return nil
}

// Families are the first tokens of the API's subjects behind the prefix. Where they may name the domain these are
// taken one by one, as applications use the rest of that prefix: $JS.<domain>.API.$KV.>
func Families() []string {
	return []string{"INFO", "STREAM", "CONSUMER", "DIRECT", "META", "SERVER", "ACCOUNT"}
}

// intercepts are the subjects that Intercept takes. Of those that name the domain, it leaves what is not of the API to
// whoever wants it.
func (n *Node) intercepts() []string {
	subjects := []string{apiPrefix + ">", ackPrefix + ">", "$JS.FC.>"}
	if n.cfg.Domain != "" {
		for _, family := range Families() {
			subjects = append(subjects, n.domainPrefix()+family, n.domainPrefix()+family+".>")
		}
	}
	return subjects
}

// HasInterest tells whether a client would get what a consumer delivers to the subject; with a queue, one of
// that group. JetStream's own requests are no place to deliver to.
func (n *Node) HasInterest(acc *account.Account, subj, queue string) bool {
	if strings.HasPrefix(subj, "$JS.") && slices.ContainsFunc(n.intercepts(), func(own string) bool { return subject.Match(subj, own) }) {
		return false
	}
	if queue != "" {
		return n.cfg.Router.HasGroup(acc, subj, queue)
	}
	return n.cfg.Router.HasInterest(acc, subj)
}

// domainPrefix is what the API's subjects begin with when they name the domain.
func (n *Node) domainPrefix() string { return "$JS." + n.cfg.Domain + ".API." }

func (n *Node) intercepted(sub *router.Sub, from router.Source, m *router.Msg) {
	if imported := sub.Imported(m); (imported || from.Crossed()) && !n.concerned(sub.Account(), string(m.Subject), imported) {
		return
	}
	r := &Request{
		Account: sub.Account().Name(), Subject: string(m.Subject), Reply: string(m.Reply),
		Origin: n.cfg.Identity.Node, Since: n.cfg.Clock.Now(),
	}
	if n.cfg.Domain != "" {
		if rest, ok := strings.CutPrefix(r.Subject, n.domainPrefix()); ok {
			r.Subject = apiPrefix + rest
		}
	}
	if len(m.Header) > 0 {
		r.Header = append([]byte(nil), wire.DelHeader(m.Header, router.RequestInfoHeader)...)
	}
	if len(m.Payload) > 0 {
		r.Body = append([]byte(nil), m.Payload...)
	}
	if c := from.Client(); c != nil && !isHot(r.Subject) {
		r.Client = n.describe(c, r.Account)
	}
	n.requests(r)
}

// concerned tells whether a request that an import takes into another account, or
// has taken out of one, is for this account. Of the API it is where the import
// leads to. Acks and flow control replies may be imported by an account that has
// consumers of its own: they are for whom they name, or else for whichever has the stream.
func (n *Node) concerned(acc *account.Account, subj string, imported bool) bool {
	s, ok := runner.ReadSubject(subj)
	switch {
	case !ok || s.Consumer == "":
		return !imported
	case s.Scope != "":
		return s.Scope == runner.Scope(n.cfg.Domain, acc.Hash())
	}
	has := false
	n.View(func(st *meta.State) { has = st.Stream(acc.Name(), s.Stream) != nil })
	return has
}

// isHot tells that a request is an ack, a flow control reply or a pull, which carry no client info.
func isHot(subj string) bool {
	return !strings.HasPrefix(subj, apiPrefix) || strings.HasPrefix(subj, nextPrefix)
}

// describe is who sent a request to the account, in JSON.
func (n *Node) describe(c *router.ClientInfo, account string) []byte {
	info := DescribeClient(c)
	info.Server, info.Cluster = n.cfg.Name, n.cfg.Cluster
	if c.Account != account {
		info.Service = account
	}
	raw, err := json.Marshal(info)
	if err != nil {
		return nil
	}
	return raw
}

// DescribeClient is what is told of a client, but for its server.
func DescribeClient(c *router.ClientInfo) *api.ClientInfo {
	info := &api.ClientInfo{
		Host: c.Host, ID: c.ID, Account: c.Account, Service: c.Service, User: c.User, Name: c.Name, Lang: c.Lang,
		Version: c.Version, RTT: c.RTT, Kind: c.Kind, ClientType: c.ClientType,
	}
	if start := c.Start.UTC(); !start.IsZero() {
		info.Start = &start
	}
	return info
}

// ManyAnswers tells that a request may have more than one answer: a pull, or a
// direct get of several messages.
func ManyAnswers(subj, body []byte) bool {
	if bytes.HasPrefix(subj, []byte(nextPrefix)) {
		return true
	}
	stream, ok := bytes.CutPrefix(subj, []byte(apiPrefix+"DIRECT.GET."))
	return ok && !bytes.ContainsRune(stream, '.') && len(body) > 0
}
