// Package subject holds the language of subjects: dot-separated tokens, the
// wildcards '*' (one token) and '>' (one or more, last only), sets of filters,
// transforms, and the index that finds subscriptions for a published subject.
package subject

import (
	"strings"

	"weir/internal/base"
)

// Valid tells whether s is a subject that may be subscribed to: non-empty
// tokens without spaces or control characters, '>' only as the last token. A
// '*' or '>' that is only a part of a token is an ordinary character.
func Valid(s string) bool {
	if s == "" {
		return false
	}
	for rest, more := s, true; more; {
		var token string
		token, rest, more = cut(rest)
		if !validToken(token) || (token == ">" && more) {
			return false
		}
	}
	return true
}

// ValidLiteral tells whether s is Valid and has no wildcards, so that it may be
// published to.
func ValidLiteral(s string) bool { return Valid(s) && !HasWildcard(s) }

// HasWildcard tells whether a token of s is a wildcard.
func HasWildcard(s string) bool {
	for rest, more := s, true; more; {
		var token string
		token, rest, more = cut(rest)
		if token == "*" || (token == ">" && !more) {
			return true
		}
	}
	return false
}

// Match tells whether the published subject literal is matched by pattern. A
// literal with an empty token is matched by nothing. It does not allocate.
func Match(literal, pattern string) bool {
	for {
		lt, lrest, lmore := cut(literal)
		pt, prest, pmore := cut(pattern)
		switch {
		case lt == "":
			return false
		case pt == ">" && !pmore:
			return !hasEmptyToken(literal)
		case pt != "*" && pt != lt:
			return false
		case !lmore || !pmore:
			return lmore == pmore
		}
		literal, pattern = lrest, prest
	}
}

// MatchBytes is Match for a subject that is still in a read buffer.
func MatchBytes(literal []byte, pattern string) bool { return Match(base.View(literal), pattern) }

// Overlap tells whether some literal subject is matched by both patterns.
func Overlap(a, b string) bool {
	for {
		at, arest, amore := cut(a)
		bt, brest, bmore := cut(b)
		switch {
		case (at == ">" && !amore) || (bt == ">" && !bmore):
			return true
		case at != bt && at != "*" && bt != "*":
			return false
		case !amore || !bmore:
			return amore == bmore
		}
		a, b = arest, brest
	}
}

// Subset tells whether every literal subject that a matches is matched by of
// as well.
func Subset(a, of string) bool {
	for {
		at, arest, amore := cut(a)
		ot, orest, omore := cut(of)
		switch {
		case ot == ">" && !omore:
			return true
		case at == ">" && !amore:
			return false
		case ot != "*" && ot != at:
			return false
		case !amore || !omore:
			return amore == omore
		}
		a, of = arest, orest
	}
}

// Tokens splits s at its dots.
func Tokens(s string) []string { return strings.Split(s, ".") }

// NumTokens is the number of tokens of s; zero for the empty string.
func NumTokens(s string) int {
	if s == "" {
		return 0
	}
	return strings.Count(s, ".") + 1
}

// cut splits off the first token. more tells that a dot followed it, so that
// rest (even when empty) holds further tokens.
func cut(s string) (token, rest string, more bool) {
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func validToken(token string) bool {
	for i := 0; i < len(token); i++ {
		if c := token[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return token != ""
}

func hasEmptyToken(s string) bool {
	return s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..")
}
