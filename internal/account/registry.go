package account

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"weir/internal/conf"
)

// ErrUnauthorized is the answer to credentials that are missing or wrong.
var ErrUnauthorized = errors.New("authorization violation")

// Kinds of connection that a user may be restricted to.
const (
	ConnectionStandard  = "STANDARD"
	ConnectionInProcess = "IN_PROCESS"
)

// User is somebody who authenticated.
type User struct {
	// Name is the user name or public nkey; empty without authentication, and
	// "[REDACTED]" for a token.
	Name        string
	Account     *Account
	Permissions *Permissions

	conf conf.User
}

// Credentials are what a client presents in its CONNECT.
type Credentials struct {
	User, Password string
	Token          string
	NKey           string // public user key
	Signature      string // base64 of the signed nonce
	JWT            string
	Nonce          []byte // as sent to the client
	ConnectionType string // one of the Connection constants
}

func (c *Credentials) empty() bool {
	return c.User == "" && c.Password == "" && c.Token == "" && c.NKey == "" && c.JWT == "" && c.Signature == ""
}

// Registry holds all accounts and users. Reads are lock-free; Update replaces
// everything at once.
type Registry struct {
	updateMu sync.Mutex
	current  atomic.Pointer[registryState]
}

type registryState struct {
	accounts map[string]*Account
	system   *Account
	users    map[string]*User // by name
	nkeys    map[string]*User // by public key
	single   *User            // of authorization.user and token
	token    string
	noAuth   *User // who clients without credentials are; nil: they are refused
	open     bool  // nobody is configured, so everybody is noAuth
	required bool  // clients are asked for credentials
}

// NewRegistry builds the registry of a validated configuration.
func NewRegistry(cfg *conf.Config) (*Registry, error) {
	r := &Registry{}
	r.current.Store(&registryState{})
	return r, r.Update(cfg)
}

// Update takes over another configuration. Accounts keep their identity by name,
// and users that did not change keep theirs. On error nothing changes.
func (r *Registry) Update(cfg *conf.Config) error {
	r.updateMu.Lock()
	defer r.updateMu.Unlock()
	b := builder{old: r.current.Load(), state: &registryState{
		accounts: make(map[string]*Account),
		users:    make(map[string]*User),
		nkeys:    make(map[string]*User),
	}}
	if err := b.build(cfg); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	for account, s := range b.settings {
		account.settings.Store(s)
	}
	r.current.Store(b.state)
	return nil
}

// builder makes a registryState that shares what did not change with the old.
type builder struct {
	old, state *registryState
	settings   map[*Account]*settings
}

func (b *builder) build(cfg *conf.Config) error {
	b.settings = make(map[*Account]*settings)
	global := b.account(GlobalName)
	system := cfg.SystemAccount
	if system == "" {
		system = SystemName
	}
	only := true
	for i := range cfg.Accounts {
		ac := &cfg.Accounts[i]
		s := b.settings[b.account(ac.Name)]
		s.limits, s.jetStream = ac.Limits, ac.JetStream
		only = only && (ac.Name == GlobalName || ac.Name == system)
	}
	if s := b.settings[global]; only && s.jetStream == nil && system != GlobalName {
		s.jetStream = &conf.AccountJetStream{
			MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1,
			MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
		}
	}
	b.state.system = b.account(system)
	b.settings[b.state.system].system = true

	auth := &cfg.Authorization
	if err := b.users(global, auth.Users, auth.DefaultPermissions); err != nil {
		return err
	}
	for i := range cfg.Accounts {
		ac := &cfg.Accounts[i]
		if err := b.users(b.state.accounts[ac.Name], ac.Users, ac.DefaultPermissions); err != nil {
			return err
		}
		if err := b.imports(cfg, ac); err != nil {
			return err
		}
		if err := b.mappings(b.state.accounts[ac.Name], ac.Mappings, cfg.Cluster.Name); err != nil {
			return err
		}
	}
	if err := b.mappings(global, cfg.Mappings, cfg.Cluster.Name); err != nil {
		return err
	}
	for _, a := range b.state.accounts {
		if err := b.domain(a, cfg.JetStream.Domain); err != nil {
			return err
		}
	}
	b.single(global, auth)
	return b.noAuthUser(cfg, global)
}

func (b *builder) account(name string) *Account {
	if a := b.state.accounts[name]; a != nil {
		return a
	}
	a := b.old.accounts[name]
	if a == nil {
		a = New(name)
	}
	b.state.accounts[name] = a
	b.settings[a] = &settings{limits: unlimited}
	return a
}

func (b *builder) users(a *Account, users []conf.User, defaults *conf.Permissions) error {
	for _, cu := range users {
		if cu.Permissions == nil {
			cu.Permissions = defaults
		}
		byName, name := b.state.users, cu.Username
		old := b.old.users[name]
		if cu.NKey != "" {
			byName, name = b.state.nkeys, cu.NKey
			old = b.old.nkeys[name]
		}
		if byName[name] != nil {
			return fmt.Errorf("user %q is configured twice", name)
		}
		byName[name] = keep(old, name, a, cu)
	}
	return nil
}

// keep returns the old user if nothing about it changed, else a new one.
func keep(old *User, name string, a *Account, cu conf.User) *User {
	if old != nil && old.Account == a && reflect.DeepEqual(old.conf, cu) {
		return old
	}
	return &User{Name: name, Account: a, Permissions: NewPermissions(cu.Permissions), conf: cu}
}

// single is the one user or token of an authorization block.
func (b *builder) single(global *Account, auth *conf.Authorization) {
	switch {
	case auth.Username != "":
		cu := conf.User{Username: auth.Username, Password: auth.Password, Permissions: auth.DefaultPermissions}
		b.state.users[auth.Username] = keep(b.old.users[auth.Username], auth.Username, global, cu)
	case auth.Token != "":
		b.state.token = auth.Token
		cu := conf.User{Password: auth.Token, Permissions: auth.DefaultPermissions}
		b.state.single = keep(b.old.single, "[REDACTED]", global, cu)
	}
}

func (b *builder) noAuthUser(cfg *conf.Config, global *Account) error {
	s := b.state
	s.open = len(s.users) == 0 && len(s.nkeys) == 0 && s.token == ""
	s.required = !s.open && cfg.NoAuthUser == ""
	if cfg.NoAuthUser != "" {
		if s.noAuth = s.users[cfg.NoAuthUser]; s.noAuth == nil {
			s.noAuth = s.nkeys[cfg.NoAuthUser]
		}
		if s.noAuth == nil {
			return fmt.Errorf("no_auth_user %q is not a configured user", cfg.NoAuthUser)
		}
		return nil
	}
	if !s.onlySystemUsers() {
		return nil
	}
	s.noAuth = keep(b.old.noAuth, "", global, conf.User{})
	return nil
}

// onlySystemUsers: users of the system account alone do not close the server to
// clients without credentials.
func (s *registryState) onlySystemUsers() bool {
	if s.token != "" {
		return false
	}
	for _, users := range []map[string]*User{s.users, s.nkeys} {
		for _, u := range users {
			if u.Account != s.system {
				return false
			}
		}
	}
	return true
}

// Account returns the account of that name, or nil.
func (r *Registry) Account(name string) *Account { return r.current.Load().accounts[name] }

// Global is the account of clients that belong to no other.
func (r *Registry) Global() *Account { return r.Account(GlobalName) }

// System is the system account.
func (r *Registry) System() *Account { return r.current.Load().system }

// Accounts returns all accounts, sorted by name.
func (r *Registry) Accounts() []*Account {
	var all []*Account
	for _, a := range r.current.Load().accounts {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *Account) int { return strings.Compare(a.name, b.name) })
	return all
}

// Required tells whether clients have to present credentials.
func (r *Registry) Required() bool { return r.current.Load().required }

// NonceRequired tells whether clients need something to sign.
func (r *Registry) NonceRequired() bool { return len(r.current.Load().nkeys) > 0 }

// Valid tells whether the user still is what it was when it authenticated;
// false after an update that changed or removed it.
func (r *Registry) Valid(u *User) bool {
	s := r.current.Load()
	if s.accounts[u.Account.name] != u.Account {
		return false
	}
	return u == s.noAuth || u == s.single || u == s.users[u.Name] || u == s.nkeys[u.Name]
}

// Authenticate finds the user of the credentials; ErrUnauthorized, perhaps
// wrapped with the reason, when there is none.
func (r *Registry) Authenticate(c *Credentials) (*User, error) {
	s := r.current.Load()
	u, err := s.find(c)
	if err != nil {
		return nil, err
	}
	if types := u.conf.ConnectionTypes; len(types) > 0 && !slices.Contains(types, c.ConnectionType) {
		return nil, fmt.Errorf("%w: connection type %s not allowed", ErrUnauthorized, c.ConnectionType)
	}
	return u, nil
}

func (s *registryState) find(c *Credentials) (*User, error) {
	if s.noAuth != nil && (s.open || c.empty()) {
		return s.noAuth, nil
	}
	if c.NKey != "" {
		return s.findNKey(c)
	}
	if c.User != "" {
		if u := s.users[c.User]; u != nil && SamePassword(u.conf.Password, c.Password) {
			return u, nil
		}
		return nil, ErrUnauthorized
	}
	if s.token != "" && c.Token != "" && SamePassword(s.token, c.Token) {
		return s.single, nil
	}
	return nil, ErrUnauthorized
}

func (s *registryState) findNKey(c *Credentials) (*User, error) {
	u := s.nkeys[c.NKey]
	if u == nil {
		return nil, fmt.Errorf("%w: unknown nkey", ErrUnauthorized)
	}
	sig, err := base64.RawURLEncoding.DecodeString(c.Signature)
	if err != nil {
		if sig, err = base64.StdEncoding.DecodeString(c.Signature); err != nil {
			return nil, fmt.Errorf("%w: signature is not base64", ErrUnauthorized)
		}
	}
	pub, err := nkeys.FromPublicKey(c.NKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	if len(c.Nonce) == 0 || pub.Verify(c.Nonce, sig) != nil {
		return nil, fmt.Errorf("%w: signature not verified", ErrUnauthorized)
	}
	return u, nil
}

// SamePassword compares what somebody presents with a configured password, which is
// in plain text or a bcrypt hash.
func SamePassword(configured, given string) bool {
	if strings.HasPrefix(configured, "$2") && len(configured) == 60 {
		return bcrypt.CompareHashAndPassword([]byte(configured), []byte(given)) == nil
	}
	return subtle.ConstantTimeCompare([]byte(configured), []byte(given)) == 1
}
