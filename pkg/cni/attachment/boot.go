package attachment

import "time"

// BootInfo identifies one run of the machine: VFs do not outlive it, files do.
type BootInfo struct {
	ID string
	// Since is a time that no file of this run is older than, see [Clocks.Since].
	// It is called for each file that is compared.
	Since func() time.Time
}

// before reports whether a file that was written at that time is of an earlier run.
func (b BootInfo) before(written time.Time) bool {
	return b.Since != nil && written.Before(b.Since())
}

// Clocks are what the machine knows of time. The wall clock may be wrong until the
// network gives the time, and then jumps; a file keeps the time that it had when it
// was written.
type Clocks struct {
	Wall func() time.Time
	// Up is the time since the machine was started (CLOCK_BOOTTIME).
	Up func() (time.Duration, error)
	// Early is what the wall clock was soon after the start, before any pod; zero
	// when that is not known.
	Early time.Time
}

// Since is when the machine was started by the wall clock as it is now, or as it
// was early if that is before. A clock that was ahead and one that was behind then
// both make files of this run seem no older than it; those of an earlier run may
// seem younger, and count as of this one. Without an answer no file is older.
func (c Clocks) Since() time.Time {
	up, err := c.Up()
	if err != nil {
		return time.Time{}
	}
	since := c.Wall().Add(-up)
	if !c.Early.IsZero() && c.Early.Before(since) {
		return c.Early
	}
	return since
}
