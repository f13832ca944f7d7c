// Package relay is a line between two divisions that can be cut: TCP ports on loopback
// whose connections are carried to targets, counted, and made slow on demand.
//
// # Guarantees
//
//   - After [Line.Cut] has returned and until [Line.Heal] is called no byte crosses:
//     every connection is closed, every copy loop has ended, new connections are closed
//     unread. That is not assumed: both ends of the copy loops count, and
//     [Counters].WhileCut is what they counted in between.
//   - A slow line ([Slow]) delays, paces and breaks by a seed: the same traffic meets the
//     same stalls and resets.
//   - A line with a hole ([Line.Vanish]) ends no connection: what vanishes is not answered,
//     as behind a firewall that drops, or a tunnel whose MTU nobody knows.
//
// A cut line answers "closed" at once, as a plugged-out switch port does.
package relay
