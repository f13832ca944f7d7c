// Package trust holds the keys of a node and of its division, and says who may speak to
// the node port and over the lines of the tree.
//
// A division has one certificate authority (ECDSA P-256). Its key is never stored in the
// clear: it is age-encrypted to the node key of every node and to the recovery kit that
// init prints once. A node has a node key (an age X25519 identity, for what is encrypted
// to it) and a TLS key whose certificate the authority issued. Private keys of nodes
// never leave the box.
//
// # Names
//
// A certificate says who its holder is by its SANs alone, its subject says nothing. A
// node's has one DNS name "<node>.<division>" and one URI
// "tongban://<division>/<level>/<node>"; an authority's has the URI "tongban://<division>/<level>".
// <division> follows the enrolled tree, as in "511602.511600.510000.000000.tongban.internal";
// that of a division without a parent is its code and the domain. It changes when the
// division, or one above it, is enrolled.
//
// # Within a division
//
// The root is the key of the division's own authority, so that nothing from above can stop
// it: a certificate is good that the key signed, in any name that the division has had,
// and that is in the division's ledger.
//
// # Between divisions
//
// An authority is certified by its parent's, with X.509 name constraints: it can issue only
// below its own name (RFC 5280, 4.2.1.10). A line between neighbours is checked by the
// parent's key and the table of children ([LinkServer], [LinkClient]); what comes from
// further away by the whole chain up to the anchor, the division without a parent
// ([VerifyChain]).
//
// # When certificates have ended
//
// A line needs certificates and renewing them needs a line. So for the time of [Grace] one
// that has ended lets a child ask its parent for new ones and do nothing else ([Ended]), and
// lets a node that is in the ledger reach the others of its division. Across divisions,
// where letters are checked, what has ended counts for nothing.
package trust
