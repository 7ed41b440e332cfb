package readmission

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/box"
)

// interrupted ends when the run is interrupted.
var interrupted context.Context

// starts is how many kubelet starts are measured by each way in each order.
var starts = 3

func TestMain(m *testing.M) {
	box.Main()
	var stop context.CancelFunc
	interrupted, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if text := os.Getenv("READMISSION_STARTS"); text != "" {
		var err error
		if starts, err = strconv.Atoi(text); err != nil || starts < 1 {
			fmt.Fprintf(os.Stderr, "READMISSION_STARTS=%q is no number of kubelet starts\n", text)
			os.Exit(1)
		}
	}
	code := m.Run()
	stop()
	os.Exit(code)
}
