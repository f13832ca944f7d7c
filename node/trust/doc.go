// Package trust holds the keys of a node and of its division, and says who may speak to
// the node port.
//
// A division has one certificate authority (ECDSA P-256). Its key is never stored in the
// clear: it is age-encrypted to the node key of every node and to the recovery kit that
// init prints once. A node has a node key (an age X25519 identity, for what is encrypted
// to it) and a TLS key whose certificate the authority issued. Private keys of nodes
// never leave the box.
//
// A certificate says who its holder is by its SANs alone: one DNS name
// "<node>.<code>.<Domain>" and one URI "tongban://<code>.<Domain>/<level>/<node>". Its
// subject is empty. The root of trust within a division is the division's own authority,
// so that nothing from above can stop it (DESIGN.md §6).
package trust
