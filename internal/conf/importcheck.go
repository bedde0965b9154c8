package conf

import "weir/internal/subject"

// imports looks for imports that no export allows, that stand twice, or that lead
// back to where they began.
func (v *validator) imports() {
	before := len(v.faults)
	for i := range v.cfg.Accounts {
		a := &v.cfg.Accounts[i]
		for _, e := range a.Exports {
			v.exportedTo(&e)
		}
		for n := range a.Imports {
			v.imported(a, n)
		}
	}
	if len(v.faults) > before {
		return
	}
	w := &walker{cfg: v.cfg, state: map[*Import]walkState{}}
	for i := range v.cfg.Accounts {
		a := &v.cfg.Accounts[i]
		for n := range a.Imports {
			if in := &a.Imports[n]; w.cyclic(in) {
				v.faults.addf(in.pos, "import of %q from account %q: it forms a cycle with other imports", in.Subject, in.Account)
			}
		}
	}
}

func (v *validator) exportedTo(e *Export) {
	for _, name := range e.Accounts {
		if v.cfg.account(name) == nil {
			v.faults.addf(e.pos, "export %q is for account %q, which is not in accounts", e.Subject, name)
		}
	}
}

func kindOf(service bool) string {
	if service {
		return "service"
	}
	return "stream"
}

// imported checks the n-th import of an account.
func (v *validator) imported(a *Account, n int) {
	in := &a.Imports[n]
	from := v.cfg.account(in.Account)
	if from == nil {
		v.faults.addf(in.pos, "import of %q from account %q, which is not in accounts", in.Subject, in.Account)
		return
	}
	m, err := in.Mapping()
	if err != nil {
		v.faults.addf(in.pos, "import of %q from account %q: %v", in.Subject, in.Account, err)
		return
	}
	kind := kindOf(in.Service)
	if from.Export(in.Service, a.Name, m.From()) == nil {
		v.faults.addf(in.pos, "account %q does not export the %s %q to account %q", in.Account, kind, in.Subject, a.Name)
	}
	for _, other := range a.Imports[:n] {
		if other.Service != in.Service || other.Account != in.Account {
			continue
		}
		same, err := other.Mapping()
		if err == nil && same.To() == m.To() && (in.Service || same.From() == m.From()) {
			v.faults.addf(in.pos, "account %q imports the %s %q of account %q twice", a.Name, kind, m.To(), in.Account)
		}
	}
}

// walker follows imports from account to account.
type walker struct {
	cfg   *Config
	state map[*Import]walkState
}

type walkState byte

const (
	walking walkState = iota + 1 // on the way that is being followed
	walked
)

// cyclic tells whether the way of an import leads back to an import on it. A cycle
// is told of once.
func (w *walker) cyclic(in *Import) bool {
	switch w.state[in] {
	case walking:
		return true
	case walked:
		return false
	}
	w.state[in] = walking
	defer func() { w.state[in] = walked }()
	m, err := in.Mapping()
	from := w.cfg.account(in.Account)
	if err != nil || from == nil {
		return false
	}
	for i := range from.Imports {
		next := &from.Imports[i]
		if next.Service != in.Service {
			continue
		}
		if n, err := next.Mapping(); err == nil && subject.Overlap(n.To(), m.From()) && w.cyclic(next) {
			return true
		}
	}
	return false
}
