package attachment

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Boot identifies the machine's present run. run is where the machine's /run is:
// a tmpfs, which was made when the machine was started.
func Boot(run string) (BootInfo, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return BootInfo{}, fmt.Errorf("read boot id: %w", err)
	}
	return BootInfo{
		ID:    strings.TrimSpace(string(id)),
		Since: Clocks{Wall: time.Now, Up: uptime, Early: made(run)}.Since,
	}, nil
}

func uptime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the time since the start: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// made is when the tmpfs at path was made, by the wall clock of that moment, zero
// when that is not known.
func made(path string) time.Time {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		return time.Time{}
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return time.Time{}
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
}
