package deviceplugin

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registryDirName is the directory below the kubelet's root directory that its
// plugin watcher looks after: it dials every socket that appears there.
const registryDirName = "plugins_registry"

// watched is the plugin watcher's way: the kubelet finds our socket by itself,
// after its own restarts too. After a refusal the link is replaced by one with
// another name, with a growing delay: that makes the kubelet try again.
type watched struct {
	registerapi.UnimplementedRegistrationServer

	resource string
	link     func() string // that the kubelet can find now
	hostPath func(path string) string
	reg      *tracker
	log      *slog.Logger
}

func (w *watched) serve(to *grpc.Server) { registerapi.RegisterRegistrationServer(to, w) }

// GetInfo implements registerapi.RegistrationServer.
func (w *watched) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type: registerapi.DevicePlugin, Name: w.resource, Endpoint: w.hostPath(w.link()),
		SupportedVersions: []string{v1beta1.Version},
	}, nil
}

// NotifyRegistrationStatus implements registerapi.RegistrationServer.
func (w *watched) NotifyRegistrationStatus(_ context.Context, st *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	link := w.link()
	if st.GetPluginRegistered() {
		w.reg.news(registration.found)
		w.log.Info("registered with the kubelet", "socket", link)
	} else {
		why := "the kubelet refused the registration: " + some([]string{st.GetError()})
		w.reg.news(func(r registration) registration { return r.notWanted(time.Now(), link, why) })
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}

// renew: a new link is the next attempt, which has to wait for its time.
func (w *watched) renew(r registration, link string, now time.Time) (yes bool, wait time.Duration) {
	if !r.usedUp(link) {
		return false, 0
	}
	wait = max(0, r.retry.after.Sub(now))
	return wait == 0, wait
}

func (w *watched) reconcile(_ context.Context, v view, _ *sync.WaitGroup) (waiting string, again time.Duration) {
	return await(w.reg.get(), v), 0
}
