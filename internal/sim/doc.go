// Package sim runs whole clusters in one process, in virtual time, under faults.
//
// A world is three to five nodes, each with what a server has but for client
// sockets: router, accounts, cluster mesh, JetStream with its API. The network
// between them and the disks below them are simulated; the clock is that of a
// testing/synctest bubble. A seed draws what the stream and its consumers are like
// (kinds.go), and a schedule of publishes, pulls, acks, of what operators ask for
// (operator.go) and of faults (faults.go). Then everything heals, and the cluster has
// to become live again and show that it kept its promises (check.go, retained.go).
//
// Beside that stream there are others (side.go) with clients and checkers of their own:
// writes under conditions, which have to look as if one came after the other
// (registers.go), and some of limits and purges (limited.go), batches (batched.go),
// schedules (scheduled.go), mirrors and sources (copied.go) and backups (archived.go).
//
// Other runs have no faults that clients could notice: lists of operations have to give
// equal results on different clusters (metamorphic_test.go).
//
// A seed draws the same schedule each time. What the goroutines of the nodes
// make of it at one instant of virtual time is up to the Go scheduler, so a
// failure that hangs on it may take a few repetitions of its seed.
package sim
