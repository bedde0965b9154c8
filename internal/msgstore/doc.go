// Package msgstore keeps the messages and replicated keys of all streams on a
// node: payloads in append-only segment files per stream, indexes and keys in one
// Pebble database. See DESIGN.md for what is durable when.
package msgstore
