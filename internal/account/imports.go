package account

import (
	"fmt"
	"time"

	"weir/internal/conf"
	"weir/internal/subject"
)

// StreamImport lets an account receive another one's messages.
type StreamImport struct {
	From *Account
	// Mapping leads from the subjects there to those here.
	Mapping *subject.Mapping
}

// ServiceImport lets an account send requests to another one's subjects.
type ServiceImport struct {
	From *Account
	// Mapping leads from the subjects here to those there.
	Mapping *subject.Mapping
	// Share has the service told who asks, and not only from which account.
	Share bool
	// Many: a request may have many answers. Threshold is how long each may take,
	// since the request or the answer before.
	Many      bool
	Threshold time.Duration
}

// Exports are what the account offers to others.
func (a *Account) Exports() []conf.Export { return a.settings.Load().exports }

// StreamImports and ServiceImports are what the account uses of others.
func (a *Account) StreamImports() []*StreamImport   { return a.settings.Load().streams }
func (a *Account) ServiceImports() []*ServiceImport { return a.settings.Load().services }

// imports resolves the imports of an account. All accounts are known.
func (b *builder) imports(cfg *conf.Config, ac *conf.Account) error {
	s := b.settings[b.state.accounts[ac.Name]]
	s.exports = ac.Exports
	for i := range ac.Imports {
		in := &ac.Imports[i]
		m, err := in.Mapping()
		if err != nil {
			return fmt.Errorf("import of %q into account %s: %w", in.Subject, ac.Name, err)
		}
		export := exportOf(cfg, in, ac.Name, m.From())
		if export == nil {
			return fmt.Errorf("import of %q into account %s: not exported by account %s", in.Subject, ac.Name, in.Account)
		}
		from := b.state.accounts[in.Account]
		if in.Service {
			s.services = append(s.services, &ServiceImport{
				From: from, Mapping: m.Inverse(), Share: in.Share,
				Many: export.Response != conf.SingleResponse, Threshold: export.Threshold,
			})
		} else {
			s.streams = append(s.streams, &StreamImport{From: from, Mapping: m})
		}
	}
	return nil
}

func exportOf(cfg *conf.Config, in *conf.Import, to, subj string) *conf.Export {
	for i := range cfg.Accounts {
		if a := &cfg.Accounts[i]; a.Name == in.Account {
			return a.Export(in.Service, to, subj)
		}
	}
	return nil
}
