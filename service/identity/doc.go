// Package identity knows the division's staff: their accounts, what they are granted,
// how they sign in, and their sessions.
//
// An account is made by an administrator, who hands over a one-time activation code. Its
// owner chooses a password (argon2id) and enrols an authenticator (TOTP, RFC 6238); every
// sign-in needs both. There is no default account and no default password: the first
// administrator is made with the one-time code that the first start of the program shows
// on the console ([SetFirstBoot]).
//
// # Guarantees
//
//   - A session ends at once, on every node that has applied the change, when its account
//     is disabled, reset or granted something else.
//   - Guessing is slow on all nodes together, and nobody can lock somebody else out: see
//     attempt.go.
//   - An unknown login, a wrong password and a wrong or used code have one answer, after
//     the same work.
//   - Passwords are stored hashed with argon2id, codes and tokens with SHA-256 (they are
//     random); secrets are neither logged nor audited. The TOTP secret must be readable:
//     it is as safe as the database file, which the service's user alone may read.
//
// # Not here
//
// What a role may do is said by the permissions of the routes; who is asked for a session
// is decided by package node/web.
package identity
