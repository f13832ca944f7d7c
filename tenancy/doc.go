// Package tenancy says which tenants and databases a division has and on which nodes
// they are, and opens and closes them on this one.
//
// The directory is a set of tables in the division database. [Tenancy.Run] follows it:
// every node opens the databases placed on it; the leader of a database migrates it, runs
// the services' workers, and keeps its replicas where the directory wants them. The
// leader of the division database also folds the feeds of all tenants (hop 0).
//
// In this version every database is placed on every node of the division.
package tenancy
