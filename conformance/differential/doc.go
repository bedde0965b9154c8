// Package differential gives the same random requests to Weir and to the
// established server and compares what they answer. A run is a list of steps that a
// seed determines; the two servers do each step before either does the next one.
//
// What may differ is taken out first: times, names of servers, versions, figures of
// replicas. Everything else has to be equal: status codes, error codes and texts,
// publish acknowledgements, configurations, state, messages and their headers.
package differential
