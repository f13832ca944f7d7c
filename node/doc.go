// Package node is one running process of a division: it reads the configuration, holds the
// keys, listens, joins, enrols, wires the parts together, and starts and stops them in order.
//
// [Init] makes the first node of a division, [Join] a further one; [New] checks what they
// made, and [Node.Run] serves until its context ends.
//
// # Doors
//
//	web     people's port: pages and JSON
//	peer    the node port: mutual TLS, chosen by ALPN (raft, streams, h2, join, enrol)
//	gossip  serf: a hint for status and addresses, nothing more
//	admin   a unix socket: whoever may open it is the operator
//
// # Order
//
// parts.go lists what is started, in order; it is stopped in the reverse order within
// eight seconds, after every leadership was handed over.
//
// # Not here
//
// The way of a request through the program is in node/web, keys and TLS in node/trust,
// the configuration in node/config.
package node
