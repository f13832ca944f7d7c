// Package service is the contract between the program and its services.
//
// A service is a value: a [Definition] names its tables, routes, workers, feeds,
// permissions, pages and messages. Package node collects the definitions, gives each
// its databases and serves its routes; adding a service is one folder below this one
// and one line in node/services.go.
//
// A route's handler gets a [Request] and answers with a [Response]. What it changes, it
// changes inside one [Request.Commit], which runs the closure on the database's leader,
// stores the answer under the request's idempotency key in the same transaction, and
// records refusals in the audit.
//
// # Not here
//
// HTTP, sessions and proxying are in package node, pages in package portal, the
// replicated database in package replication.
package service
