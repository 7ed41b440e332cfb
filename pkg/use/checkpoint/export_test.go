package checkpoint

import "time"

// SetNow sets the clock, before the first use.
func (r *Reader) SetNow(now func() time.Time) { r.now = now }
