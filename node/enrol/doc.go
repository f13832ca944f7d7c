// Package enrol lets a division become a child of another by a one-time token: what the
// token says, the request and the answer, and the line between them.
//
// Request and answer are documents that stand alone: each is proved by the token's secret
// (HMAC), which itself never crosses, so that it does not matter how they travel. Over the
// line they use the node port's enrolment protocol ("tongban-enrol/1"): one request and one
// answer, after the parent's node has shown the authority that the token pins. Where there
// is no line, a [File] carries each.
//
// # Not here
//
// What the parent does with a request and the child with an answer is in package node, the
// tables are package federation's.
package enrol
