package conn

import (
	"encoding/json"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/router"
)

// userInfoSubject is where any client may ask who it is.
const userInfoSubject = "$SYS.REQ.USER.INFO"

type userInfoResponse struct {
	Server userInfoServer `json:"server"`
	Data   userInfoData   `json:"data"`
}

type userInfoServer struct {
	Name      string    `json:"name"`
	Host      string    `json:"host"`
	ID        string    `json:"id"`
	Cluster   string    `json:"cluster,omitempty"`
	Domain    string    `json:"domain,omitempty"`
	Version   string    `json:"ver"`
	JetStream bool      `json:"jetstream"`
	Flags     int       `json:"flags"`
	Seq       uint64    `json:"seq"`
	Time      time.Time `json:"time"`
}

type userInfoData struct {
	User        string               `json:"user"`
	Account     string               `json:"account"`
	AccountName string               `json:"account_name"`
	Permissions *userInfoPermissions `json:"permissions,omitempty"`
}

type userInfoPermissions struct {
	Publish   userInfoSubjects   `json:"publish"`
	Subscribe userInfoSubjects   `json:"subscribe"`
	Responses *userInfoResponses `json:"responses,omitempty"`
}

type userInfoSubjects struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

type userInfoResponses struct {
	Max int           `json:"max"`
	TTL time.Duration `json:"ttl"`
}

// serveAccount makes the answers available in an account that has a client.
func (s *Server) serveAccount(a *account.Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shutdown || s.userInfo[a] != nil {
		return
	}
	sub, err := s.router.Subscribe(a, userInfoSubject, "", s.answerUserInfo, router.SubOptions{Local: true})
	base.Assert(err == nil, "subscribing to %s: %v", userInfoSubject, err)
	s.userInfo[a] = sub
}

func (s *Server) answerUserInfo(sub *router.Sub, from router.Source, m *router.Msg) {
	who := from.Client()
	if who == nil || len(m.Reply) == 0 {
		return
	}
	s.mu.Lock()
	c := s.clients[who.ID]
	jetStream := s.cfg().JetStream
	host, _ := s.advertisedLocked()
	s.mu.Unlock()
	if c == nil {
		return
	}
	doc := userInfoResponse{
		Server: userInfoServer{
			Name: s.cfg().ServerName, Host: host, ID: s.cfg().ServerID,
			Cluster: s.cfg().Cluster, Domain: s.cfg().Domain, Version: s.cfg().Version,
			JetStream: jetStream, Seq: s.userInfoSequences.Add(1), Time: s.clock.Now().UTC(),
		},
		Data: userInfoData{
			User: who.User, Account: who.Account, AccountName: who.Account,
			Permissions: describePermissions(c.user.Permissions.Config()),
		},
	}
	text, err := json.Marshal(&doc)
	base.Assert(err == nil, "encoding user info: %v", err)
	s.router.Publish(sub.Account(), router.Internal.InBatch(from.Batch()), &router.Msg{Subject: m.Reply, Payload: text})
}

func describePermissions(p *conf.Permissions) *userInfoPermissions {
	if p == nil {
		return nil
	}
	d := &userInfoPermissions{
		Publish:   userInfoSubjects{p.Publish.Allow, p.Publish.Deny},
		Subscribe: userInfoSubjects{p.Subscribe.Allow, p.Subscribe.Deny},
	}
	if p.Responses != nil {
		d.Responses = &userInfoResponses{p.Responses.MaxMsgs, p.Responses.Expires}
	}
	return d
}
