package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// byteBar shows a bar on a terminal's standard error from the first call of tell on; end
// removes it.
func (a *app) byteBar(what string) (tell func(done, total int64), end func()) {
	if !terminal(a.err) {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	tell = func(done, total int64) {
		if bar == nil {
			bar = a.bar(what)
		}
		if bar.GetMax64() != total && total > 0 {
			bar.ChangeMax64(total)
		}
		_ = bar.Set64(done) // A terminal that does not take a bar is no reason to stop.
	}
	return tell, func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
}

func (a *app) bar(what string) *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1, progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSpinnerType(14))
}
