package catalog_test

import "regexp"

var slugPattern = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
