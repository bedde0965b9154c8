// Package account holds who may connect and what they may do: accounts, their
// users and credentials, and subject permissions. It knows nothing about
// sockets or subscriptions.
package account

import (
	"sync/atomic"

	"weir/internal/base"
	"weir/internal/conf"
)

// Names of the accounts that always exist.
const (
	// GlobalName is the account of users that are configured outside of any
	// account, and of everybody when no user is configured.
	GlobalName = "$G"
	// SystemName is the system account unless the configuration names another.
	SystemName = "$SYS"
)

// Account is one subject space. Subjects of different accounts never meet.
// A reload that keeps an account keeps its pointer and changes its settings.
type Account struct {
	name     string
	hash     string
	settings atomic.Pointer[settings]
	dice     base.Random // of mappings
}

type settings struct {
	system    bool
	limits    conf.AccountLimits
	jetStream *conf.AccountJetStream

	exports  []conf.Export
	mappings []subjectMap
	mapsAny  bool   // the configuration has mappings
	domain   string // what the subjects begin with that JetStream's domain maps; empty: it maps none
	// configuredMappings are those of the other servers of the cluster, too.
	configuredMappings []conf.Mapping
	streams            []*StreamImport
	services           []*ServiceImport
}

var unlimited = conf.AccountLimits{MaxConnections: -1, MaxSubscriptions: -1, MaxPayload: -1}

// New returns an account without limits that belongs to no registry.
func New(name string) *Account {
	a := &Account{name: name, hash: base.ShortName(name)}
	a.settings.Store(&settings{limits: unlimited})
	return a
}

// Name is the account's configured name.
func (a *Account) Name() string { return a.name }

// Hash stands for the name in the subjects of acks and flow control (ADR-15).
func (a *Account) Hash() string { return a.hash }

func (a *Account) String() string { return a.name }

// IsSystem tells whether this is the system account.
func (a *Account) IsSystem() bool { return a.settings.Load().system }

// Limits bound what the account's clients may use together; -1 is unlimited.
func (a *Account) Limits() conf.AccountLimits { return a.settings.Load().limits }

// JetStream is what the account may use of JetStream; nil when nothing.
func (a *Account) JetStream() *conf.AccountJetStream { return a.settings.Load().jetStream }
