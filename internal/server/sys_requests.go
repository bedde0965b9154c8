package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"weir/internal/account"
	"weir/internal/monitor"
	"weir/internal/router"
)

// Requests on the system account. Supported: IDZ, STATSZ, VARZ, CONNZ, ROUTEZ,
// GATEWAYZ, LEAFZ, SUBSZ, JSZ, RAFTZ, HEALTHZ, ACCOUNTZ, IPQUEUESZ, EXPVARZ and
// PROFILEZ of one server, by its id, and of all that pass a filter, by PING; KICK of a
// client; CONNZ, SUBSZ, LEAFZ, JSZ, INFO, STATZ and CONNS of an account. Clients of a
// plain account may ask for CONNZ and STATZ of their own; the server that they are
// connected to answers alone.
//
// Not supported: RELOAD and LDM; and JWT resolvers.

const (
	serverRequests  = "$SYS.REQ.SERVER."
	accountRequests = "$SYS.REQ.ACCOUNT."
)

// errNoAnswer: it is for other servers to answer.
var errNoAnswer = errors.New("not for this server")

// badRequest is a request whose options could not be read.
type badRequest struct{ error }

// options reads the JSON options of a request; an empty body has none.
func options[T any](body []byte) (opts T, err error) {
	if len(body) > 0 {
		if err := json.Unmarshal(body, &opts); err != nil {
			return opts, badRequest{err}
		}
	}
	return opts, nil
}

// documents are the requests to a server by name. What they return is the data of
// the answer.
var documents = map[string]func(m *monitor.Monitor, body []byte) (any, error){
	"VARZ":      func(m *monitor.Monitor, _ []byte) (any, error) { return m.Varz(), nil },
	"GATEWAYZ":  func(m *monitor.Monitor, _ []byte) (any, error) { return m.Gatewayz(), nil },
	"LEAFZ":     func(m *monitor.Monitor, _ []byte) (any, error) { return m.Leafz(), nil },
	"IPQUEUESZ": func(m *monitor.Monitor, _ []byte) (any, error) { return m.IPQueuesz(), nil },
	"EXPVARZ":   func(m *monitor.Monitor, _ []byte) (any, error) { return m.Expvarz(), nil },
	"CONNZ": func(m *monitor.Monitor, body []byte) (any, error) {
		return answerWith(body, m.Connz)
	},
	"SUBSZ": func(m *monitor.Monitor, body []byte) (any, error) {
		return answerWith(body, m.Subsz)
	},
	"JSZ": func(m *monitor.Monitor, body []byte) (any, error) {
		return answerWith(body, m.Jsz)
	},
	"ACCOUNTZ": func(m *monitor.Monitor, body []byte) (any, error) {
		return answerWith(body, m.Accountz)
	},
	"RAFTZ": func(m *monitor.Monitor, body []byte) (any, error) {
		return answerWith(body, m.Raftz)
	},
	"ROUTEZ": func(m *monitor.Monitor, body []byte) (any, error) {
		opts, err := options[monitor.RoutezOptions](body)
		return m.Routez(opts), err
	},
	"HEALTHZ": func(m *monitor.Monitor, body []byte) (any, error) {
		opts, err := options[monitor.HealthzOptions](body)
		if err != nil {
			return nil, err
		}
		return m.Healthz(opts), nil
	},
}

// answerWith reads options and makes a document with them.
func answerWith[T, D any](body []byte, document func(T) (*D, error)) (any, error) {
	opts, err := options[T](body)
	if err != nil {
		return nil, err
	}
	doc, err := document(opts)
	if err != nil {
		return nil, err
	}
	return doc, nil
}

// serverNames are the requests that a server answers under its id and under PING.
func serverNames() []string {
	names := []string{"IDZ", "STATSZ", "PROFILEZ"}
	for name := range documents {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// accountDocuments are the requests about an account.
var accountDocuments = []string{"CONNZ", "SUBSZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS"}

// serveAccounts subscribes to the requests in every account that is not served
// yet; also to be called when accounts were added.
func (y *system) serveAccounts() error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.subs == nil {
		return nil // stopped
	}
	for _, acc := range y.server.accounts.Accounts() {
		if y.subs[acc] != nil {
			continue
		}
		var err error
		if acc == y.acc {
			err = y.serveSystemLocked()
		} else {
			err = y.serveAccountLocked(acc)
		}
		if err != nil {
			return fmt.Errorf("serve the system requests of account %s: %w", acc.Name(), err)
		}
	}
	return nil
}

func (y *system) serveSystemLocked() error {
	id := serverRequests + y.server.id + "."
	subjects := []string{serverRequests + "PING", id + "KICK"}
	for _, name := range serverNames() {
		subjects = append(subjects, id+name, serverRequests+"PING."+name)
	}
	for _, name := range accountDocuments {
		subjects = append(subjects, accountRequests+"*."+name)
	}
	return y.subscribeLocked(y.acc, subjects, router.SubOptions{})
}

func (y *system) serveAccountLocked(acc *account.Account) error {
	subjects := []string{accountRequests + "PING.CONNZ", accountRequests + "PING.STATZ", serverRequests + "PING.CONNZ"}
	return y.subscribeLocked(acc, subjects, router.SubOptions{Local: true})
}

func (y *system) subscribeLocked(acc *account.Account, subjects []string, opts router.SubOptions) error {
	for _, subject := range subjects {
		sub, err := y.server.router.Subscribe(acc, subject, "", y.receive, opts)
		if err != nil {
			return err
		}
		y.subs[acc] = append(y.subs[acc], sub)
	}
	return nil
}

// receive queues a request.
func (y *system) receive(sub *router.Sub, _ router.Source, m *router.Msg) {
	if len(m.Reply) == 0 || sub.Imported(m) {
		return
	}
	subject, reply, body := string(m.Route()), string(m.Reply), slices.Clone(m.Payload)
	acc, jobs := sub.Account(), y.jobs
	if strings.HasSuffix(subject, ".PROFILEZ") {
		jobs = y.profiles
	}
	if !enqueue(jobs, func() { y.answer(acc, subject, reply, body) }) {
		y.server.log.Warnf("Too many system requests wait: %s is dropped", subject)
	}
}

// answer does a request and sends what came of it.
func (y *system) answer(acc *account.Account, subject, reply string, body []byte) {
	doc, err := y.serve(acc, subject, body)
	if err == nil {
		y.send(acc, reply, doc)
		return
	}
	var bad badRequest
	switch {
	case errors.Is(err, errNoAnswer) || errors.Is(err, monitor.ErrNotLeader):
	case errors.As(err, &bad):
		y.send(acc, reply, refusedReply{y.identity(), replyError{http.StatusBadRequest, err.Error()}})
	default:
		y.send(acc, reply, dataReply{Server: y.identity(), Error: &replyError{http.StatusInternalServerError, err.Error()}})
	}
}

// dataReply is the envelope of an answer; data is null with an error.
type dataReply struct {
	Server *serverIdentity `json:"server"`
	Data   any             `json:"data"`
	Error  *replyError     `json:"error,omitempty"`
}

// refusedReply answers a request that was not understood.
type refusedReply struct {
	Server *serverIdentity `json:"server"`
	Error  replyError      `json:"error"`
}

type replyError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// serve makes the whole document of an answer.
func (y *system) serve(acc *account.Account, subject string, body []byte) (any, error) {
	if acc != y.acc {
		return y.serveOwn(acc.Name(), subject, body)
	}
	if rest, ok := strings.CutPrefix(subject, serverRequests); ok {
		if rest == "PING" {
			rest = "PING.STATSZ"
		}
		to, name, _ := strings.Cut(rest, ".")
		// Everybody says who it is, as the established server does.
		if to == "PING" && name != "IDZ" {
			if err := y.filter(body); err != nil {
				return nil, err
			}
		}
		return y.serveServer(name, body)
	}
	if err := y.filter(body); err != nil {
		return nil, err
	}
	about, name, _ := strings.Cut(strings.TrimPrefix(subject, accountRequests), ".")
	if about == "PING" && name == "STATZ" {
		about = allAccounts
	}
	return y.serveAccount(about, name, body)
}

func (y *system) serveServer(name string, body []byte) (any, error) {
	switch name {
	case "IDZ":
		return idz{y.server.name, y.server.cfg.Host, y.server.id}, nil
	case "STATSZ":
		return statszReply{y.identity(), y.statsz()}, nil
	case "KICK":
		return y.kick(body)
	case "PROFILEZ":
		return y.profilez(body)
	}
	data, err := documents[name](y.doc, body)
	if err != nil {
		return nil, err
	}
	return dataReply{Server: y.identity(), Data: data}, nil
}

// idz says which server this is.
type idz struct {
	Name string `json:"name"`
	Host string `json:"host"`
	ID   string `json:"id"`
}

// eventFilter says which servers a request to all is for; empty fields are all.
type eventFilter struct {
	Name    string   `json:"server_name"`
	Cluster string   `json:"cluster"`
	Host    string   `json:"host"`
	Tags    []string `json:"tags"`
	Domain  string   `json:"domain"`
	// Exact compares whole names; without it a part is enough.
	Exact bool `json:"exact_match"`
}

// filter returns errNoAnswer unless this server passes the filter in body.
func (y *system) filter(body []byte) error {
	f, err := options[eventFilter](body)
	if err != nil {
		return err
	}
	s := y.server
	match := strings.Contains
	if f.Exact {
		match = func(have, want string) bool { return have == want }
	}
	for _, pair := range [][2]string{{s.name, f.Name}, {s.clusterName(), f.Cluster}, {s.cfg.Host, f.Host}} {
		if pair[1] != "" && !match(pair[0], pair[1]) {
			return errNoAnswer
		}
	}
	for _, tag := range f.Tags {
		if !slices.Contains(s.cfg.Tags, strings.ToLower(tag)) {
			return errNoAnswer
		}
	}
	if f.Domain != "" && f.Domain != s.cfg.JetStream.Domain {
		return errNoAnswer
	}
	return nil
}

// kick ends a client's connection.
func (y *system) kick(body []byte) (any, error) {
	opts, err := options[struct {
		CID uint64 `json:"cid"`
	}](body)
	if err != nil {
		return nil, err
	}
	if !y.server.clients.Kick(opts.CID) {
		return nil, fmt.Errorf("no connection with the id %d", opts.CID)
	}
	return struct {
		Server *serverIdentity `json:"server"`
	}{y.identity()}, nil
}

// serveOwn answers a plain account about itself.
func (y *system) serveOwn(name, subject string, body []byte) (any, error) {
	if strings.HasSuffix(subject, ".STATZ") {
		return y.serveAccount(name, "STATZ", body)
	}
	return y.serveAccount(name, "CONNZ", body)
}

// allAccounts, as the name of an account, stands for all, or for those that the body
// names. Only the system account may ask for them.
const allAccounts = ""

// serveAccount answers requests about an account.
func (y *system) serveAccount(name, request string, body []byte) (any, error) {
	data, err := y.accountData(name, request, body)
	if err != nil {
		return nil, err
	}
	if request == "CONNS" {
		return data, nil
	}
	return dataReply{Server: y.identity(), Data: data}, nil
}

func (y *system) accountData(name, request string, body []byte) (any, error) {
	switch request {
	case "CONNZ":
		return answerWith(body, func(opts monitor.ConnzOptions) (*monitor.Connz, error) {
			opts.Account = name
			return y.doc.Connz(opts)
		})
	case "SUBSZ":
		return answerWith(body, func(opts monitor.SubszOptions) (*monitor.Subsz, error) {
			opts.Account, opts.Subscriptions = name, true
			return y.doc.Subsz(opts)
		})
	case "LEAFZ":
		return y.doc.Leafz(), nil
	case "JSZ":
		return answerWith(body, func(opts monitor.JszOptions) (*monitor.AccountDetail, error) {
			return y.accountJsz(name, opts)
		})
	case "INFO":
		doc, err := y.doc.Accountz(monitor.AccountzOptions{Account: name})
		if err != nil {
			return nil, err
		}
		return doc.Account, nil
	case "CONNS":
		for _, st := range y.doc.Accstatz(monitor.AccstatzOptions{Accounts: []string{name}}).Accounts {
			return y.accountConnections(st), nil
		}
		return nil, errNoAnswer
	}
	return answerWith(body, func(opts monitor.AccstatzOptions) (*monitor.Accstatz, error) {
		if name != allAccounts {
			opts.Accounts = []string{name}
		}
		doc := y.doc.Accstatz(opts)
		if len(doc.Accounts) == 0 {
			return nil, errNoAnswer
		}
		return doc, nil
	})
}

func (y *system) accountJsz(name string, opts monitor.JszOptions) (*monitor.AccountDetail, error) {
	opts.Account = name
	doc, err := y.doc.Jsz(opts)
	if err != nil {
		return nil, err
	}
	switch {
	case len(doc.AccountDetails) > 0:
		return doc.AccountDetails[0], nil
	case y.server.accounts.Account(name) != nil:
		return nil, fmt.Errorf("account %q not jetstream enabled", name)
	}
	return nil, fmt.Errorf("account %q not found", name)
}
