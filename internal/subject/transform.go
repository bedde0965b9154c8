package subject

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// maxDestination bounds the destination of a transform, each token of which may stand
// for one as long as the subject that is mapped.
const maxDestination = 4 << 10

// The faults of a transform. Those of a function are wrapped with the token
// that has them.
var (
	ErrBadSubject      = errors.New("invalid subject")
	errDestination     = errors.New("invalid mapping destination")
	errBadToken        = fmt.Errorf("%w: invalid transform", errDestination)
	errUnknownFunction = fmt.Errorf("%w: unknown function", errDestination)
	errIndexRange      = fmt.Errorf("%w: wildcard index out of range", errDestination)
	errFewArguments    = fmt.Errorf("%w: not enough arguments passed to the function", errDestination)
	errManyArguments   = fmt.Errorf("%w: too many arguments passed to the function", errDestination)
	errBadArgument     = fmt.Errorf("%w: function argument is invalid or in the wrong format", errDestination)
	errTooLong         = fmt.Errorf("%w: longer than %d bytes", errDestination, maxDestination)
	errNoRandom        = fmt.Errorf("%w: random is not possible here", errDestination)
)

// Transform maps subjects that match a source pattern to other subjects. A
// token of the destination is one of
//
//	text                  itself
//	$i, {{wildcard(i)}}   what the source's i-th '*' matched; i counts from 1
//	{{partition(n,i,…)}}  a number below n, the hash of those wildcards
//	{{partition(n)}}      the same of the whole subject
//	{{split(i,sep)}}      wildcard i in tokens, cut at each sep
//	{{splitFromLeft(i,n)}}, {{splitFromRight(i,n)}}   cut once, n bytes from there
//	{{sliceFromLeft(i,n)}}, {{sliceFromRight(i,n)}}   cut every n bytes
//	{{left(i,n)}}, {{right(i,n)}}                     the n bytes at that end
//	{{random(n)}}         a random number below n
//	>                     last only: what the source's '>' matched
//
// Names of functions are not case-sensitive. A Transform is immutable.
type Transform struct {
	src, dest string
	wildcards []int // position in the subject of each '*' of src
	restAt    int   // position of '>' in src, or -1
	steps     []step
	intN      func(n int) int
}

// step appends one destination token (or what stands for it) to dst.
type step func(t *Transform, dst []byte, subject string, tokens []string) []byte

// NewTransform compiles a transform. An empty src is ">"; an empty dest maps
// every subject to itself. random is refused.
func NewTransform(src, dest string) (*Transform, error) {
	return NewRandomTransform(src, dest, nil)
}

// NewRandomTransform is NewTransform with a source of random numbers: intN(n)
// is at least 0 and below n.
func NewRandomTransform(src, dest string, intN func(n int) int) (*Transform, error) {
	if src == "" {
		src = ">"
	}
	if !Valid(src) {
		return nil, ErrBadSubject
	}
	t := &Transform{src: src, dest: dest, restAt: -1, intN: intN}
	for i, token := range Tokens(src) {
		switch token {
		case "*":
			t.wildcards = append(t.wildcards, i)
		case ">":
			t.restAt = i
		}
	}
	if dest == "" {
		return t, nil
	}
	if len(dest) > maxDestination {
		return nil, errTooLong
	}
	if strings.HasSuffix("."+dest, ".>") != (t.restAt >= 0) {
		return nil, ErrBadSubject
	}
	tokens := Tokens(dest)
	for i, token := range tokens {
		s, err := t.compile(token, i == len(tokens)-1)
		if err != nil {
			return nil, err
		}
		t.steps = append(t.steps, s)
	}
	return t, nil
}

// Source and Dest are the patterns that the transform was made of.
func (t *Transform) Source() string { return t.src }
func (t *Transform) Dest() string   { return t.dest }

// Apply maps a literal subject; ok tells whether the source matches it. A
// subject that is not matched comes back as it is.
func (t *Transform) Apply(subject string) (mapped string, ok bool) {
	if !Match(subject, t.src) {
		return subject, false
	}
	if t.dest == "" {
		return subject, true
	}
	tokens := Tokens(subject)
	dst := make([]byte, 0, len(subject)+len(t.dest))
	for i, s := range t.steps {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = s(t, dst, subject, tokens)
	}
	return string(dst), true
}

func (t *Transform) compile(token string, last bool) (step, error) {
	switch {
	case token == ">" && last:
		return restStep, nil
	case strings.HasPrefix(token, "{{") && strings.HasSuffix(token, "}}"):
		return t.compileFunction(token)
	case !validToken(token):
		return nil, errBadToken
	case token == "*" || token == ">":
		return nil, ErrBadSubject
	case token[0] == '$':
		if i, err := strconv.Atoi(token[1:]); err == nil {
			return t.wildcardStep(token, i)
		}
	}
	return textStep(token), nil
}

func (t *Transform) compileFunction(token string) (step, error) {
	call := strings.TrimSpace(token[2 : len(token)-2])
	name, list, ok := strings.Cut(call, "(")
	if !ok || !strings.HasSuffix(list, ")") {
		return nil, faultIn(token, errUnknownFunction)
	}
	args := strings.Split(strings.TrimSuffix(list, ")"), ",")
	for i := range args {
		args[i] = strings.TrimSpace(args[i])
	}
	switch name = strings.ToLower(strings.TrimSpace(name)); name {
	case "wildcard":
		i, err := oneNumber(token, args)
		if err != nil {
			return nil, err
		}
		return t.wildcardStep(token, i)
	case "random":
		n, err := oneNumber(token, args)
		if err == nil && t.intN == nil {
			err = faultIn(token, errNoRandom)
		}
		return randomStep(n), err
	case "partition":
		return t.compilePartition(token, args)
	case "split":
		return t.compileSplit(token, args)
	}
	if cut, ok := cutters[name]; ok {
		return t.compileCutter(token, args, cut)
	}
	return nil, faultIn(token, errUnknownFunction)
}

func (t *Transform) wildcardStep(token string, i int) (step, error) {
	at, err := t.position(token, i)
	return func(_ *Transform, dst []byte, _ string, tokens []string) []byte {
		return append(dst, tokens[at]...)
	}, err
}

func (t *Transform) compilePartition(token string, args []string) (step, error) {
	numbers, err := parseNumbers(token, args)
	if err != nil {
		return nil, err
	}
	var positions []int
	for _, i := range numbers[1:] {
		at, err := t.position(token, i)
		if err != nil {
			return nil, err
		}
		positions = append(positions, at)
	}
	n := uint32(max(numbers[0], 0))
	return func(_ *Transform, dst []byte, subject string, tokens []string) []byte {
		h := fnv.New32a()
		if len(positions) == 0 {
			h.Write([]byte(subject))
		}
		for _, at := range positions {
			h.Write([]byte(tokens[at]))
		}
		if n == 0 {
			return append(dst, '0')
		}
		return strconv.AppendUint(dst, uint64(h.Sum32()%n), 10)
	}, nil
}

func (t *Transform) compileSplit(token string, args []string) (step, error) {
	if err := wantArguments(token, args, 2); err != nil {
		return nil, err
	}
	at, err := t.positionText(token, args[0])
	separator := args[1]
	return func(_ *Transform, dst []byte, _ string, tokens []string) []byte {
		return appendParts(dst, tokens[at], strings.Split(tokens[at], separator))
	}, err
}

// cutters cut a token in parts that become tokens; n is above 0 and below the
// token's length.
var cutters = map[string]func(token string, n int) []string{
	"left":           func(token string, n int) []string { return []string{token[:n]} },
	"right":          func(token string, n int) []string { return []string{token[len(token)-n:]} },
	"splitfromleft":  func(token string, n int) []string { return []string{token[:n], token[n:]} },
	"splitfromright": func(token string, n int) []string { return []string{token[:len(token)-n], token[len(token)-n:]} },
	"slicefromleft":  func(token string, n int) []string { return slice(token, n, n) },
	"slicefromright": func(token string, n int) []string { return slice(token, len(token)%n, n) },
}

// slice cuts first bytes off token and then n at a time.
func slice(token string, first, n int) []string {
	parts := []string{token[:first]}
	for token = token[first:]; token != ""; token = token[min(n, len(token)):] {
		parts = append(parts, token[:min(n, len(token))])
	}
	return parts
}

func (t *Transform) compileCutter(token string, args []string, cut func(string, int) []string) (step, error) {
	if err := wantArguments(token, args, 2); err != nil {
		return nil, err
	}
	numbers, err := parseNumbers(token, args)
	if err != nil {
		return nil, err
	}
	at, err := t.position(token, numbers[0])
	n := numbers[1]
	return func(_ *Transform, dst []byte, _ string, tokens []string) []byte {
		if n <= 0 || n >= len(tokens[at]) {
			return append(dst, tokens[at]...)
		}
		return appendParts(dst, tokens[at], cut(tokens[at], n))
	}, err
}

func restStep(t *Transform, dst []byte, _ string, tokens []string) []byte {
	return append(dst, strings.Join(tokens[t.restAt:], ".")...)
}

func textStep(text string) step {
	return func(_ *Transform, dst []byte, _ string, _ []string) []byte { return append(dst, text...) }
}

func randomStep(n int) step {
	return func(t *Transform, dst []byte, _ string, _ []string) []byte {
		if n <= 0 {
			return append(dst, '0')
		}
		return strconv.AppendInt(dst, int64(t.intN(n)), 10)
	}
}

// appendParts appends the parts that are not empty as tokens, or whole if there
// is none.
func appendParts(dst []byte, whole string, parts []string) []byte {
	start := len(dst)
	for _, part := range parts {
		if part == "" {
			continue
		}
		if len(dst) > start {
			dst = append(dst, '.')
		}
		dst = append(dst, part...)
	}
	if len(dst) == start {
		return append(dst, whole...)
	}
	return dst
}

// position is where in the subject the source's i-th wildcard is.
func (t *Transform) position(token string, i int) (int, error) {
	if len(t.wildcards) == 0 {
		return 0, faultIn(token, errIndexRange)
	}
	if i < 1 || i > len(t.wildcards) {
		return 0, fmt.Errorf("%w: [%d]", faultIn(token, errIndexRange), i)
	}
	return t.wildcards[i-1], nil
}

func (t *Transform) positionText(token, text string) (int, error) {
	i, err := strconv.Atoi(text)
	if err != nil {
		return 0, faultIn(token, errBadArgument)
	}
	return t.position(token, i)
}

func oneNumber(token string, args []string) (int, error) {
	if err := wantArguments(token, args, 1); err != nil {
		return 0, err
	}
	numbers, err := parseNumbers(token, args)
	if err != nil {
		return 0, err
	}
	return numbers[0], nil
}

func parseNumbers(token string, args []string) ([]int, error) {
	numbers := make([]int, len(args))
	for i, text := range args {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return nil, faultIn(token, errBadArgument)
		}
		numbers[i] = int(n)
	}
	return numbers, nil
}

func wantArguments(token string, args []string, n int) error {
	switch {
	case len(args) < n, n == 1 && args[0] == "":
		return faultIn(token, errFewArguments)
	case len(args) > n:
		return faultIn(token, errManyArguments)
	}
	return nil
}

func faultIn(token string, err error) error { return fmt.Errorf("%w in %s", err, token) }
