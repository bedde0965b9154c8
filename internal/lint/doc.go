// Package lint holds the rules of docs/ARCHITECTURE.md about the source text
// itself, as tests: who may import whom, which packages are pure, where time,
// randomness and files may come from, and how long a function and a file may
// get. The rules are the tables of rules_test.go.
package lint
