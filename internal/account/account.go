// Package account holds who may connect and what they may do: accounts, their
// users and credentials, and subject permissions. It knows nothing about
// sockets or subscriptions.
package account

// Names of the accounts that always exist.
const (
	// GlobalName is the account of users that are configured outside of any
	// account, and of everybody when no user is configured.
	GlobalName = "$G"
	// SystemName is the system account unless the configuration names another.
	SystemName = "$SYS"
)

// Account is one subject space. Subjects of different accounts never meet,
// except through exports and imports. It is immutable but for its identity:
// a reload that keeps an account keeps its pointer.
type Account struct {
	name   string
	system bool
}

// New returns an account that belongs to no registry; for tests and for peers
// that name an account which this node does not have.
func New(name string) *Account { return &Account{name: name} }

// Name is the account's configured name.
func (a *Account) Name() string { return a.name }

// IsSystem tells whether this is the system account.
func (a *Account) IsSystem() bool { return a.system }

func (a *Account) String() string { return a.name }
