// Package conf reads the server's configuration: nats-server's configuration
// language, its keys, and their defaults. It has no side effect other than
// reading the file and the files that it includes.
//
// Reading is all or nothing. [Load] and [Parse] give a complete, validated
// [Config], or an [Errors] that lists every fault of the text with file, line
// and key. A key that is not in nats-server's table (options.csv) is an error,
// and so is one that is in the table but that Weir does not support yet, so
// that nothing in a file is silently without effect.
package conf
