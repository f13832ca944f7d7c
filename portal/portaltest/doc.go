// Package portaltest drives a headless chromium for tests about pages: it opens an
// address, looks, clicks, takes screenshots and runs the axe-core accessibility checks.
// Without chromium its tests are skipped and say how to install it.
//
// It is imported by tests only. axe-core (folder axe, Mozilla Public License 2.0) is
// injected through the debugging protocol, past the page's Content-Security-Policy, so
// that the policy under test stays as strict as it is.
package portaltest
