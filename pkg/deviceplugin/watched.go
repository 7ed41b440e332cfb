package deviceplugin

import (
	"context"
	"errors"
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

	server *server
}

func (w *watched) serve(to *grpc.Server) { registerapi.RegisterRegistrationServer(to, w) }

// GetInfo implements registerapi.RegistrationServer.
func (w *watched) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type: registerapi.DevicePlugin, Name: w.server.resource, Endpoint: w.server.opts.HostPath(w.server.place.visibleLink()),
		SupportedVersions: []string{v1beta1.Version},
	}, nil
}

// NotifyRegistrationStatus implements registerapi.RegistrationServer.
func (w *watched) NotifyRegistrationStatus(_ context.Context, st *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	s := w.server
	link := s.place.visibleLink()
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.GetPluginRegistered() {
		s.count++
		s.refused = ""
		s.log.Info("registered with the kubelet", "socket", link)
	} else {
		_ = s.retry.failed(time.Now(), nil)
		s.renew = true
		s.refused = "the kubelet refused the registration: " + some([]string{st.GetError()})
	}
	notify(s.kick)
	return &registerapi.RegistrationStatusResponse{}, nil
}

// usedUp: a new link is the next attempt, which has to wait for its time.
func (w *watched) usedUp(now time.Time) (renew bool, wait time.Duration) {
	if !w.server.renew {
		return false, 0
	}
	if wait = w.server.retry.after.Sub(now); wait > 0 {
		return false, wait
	}
	w.server.renew = false
	return true, 0
}

func (w *watched) forget() {}

func (w *watched) reconcile(_ context.Context, _ time.Time, o offering, _ *sync.WaitGroup) progress {
	var p progress
	switch {
	case o.err != nil:
		p.waiting = "our own socket"
	case o.link == "":
		p.waiting = "the kubelet to create " + registryDirName
	case len(o.streams) == 0:
		p.waiting = "the kubelet to find our socket"
	}
	if w.server.refused != "" {
		p.err = errors.New(w.server.refused)
	}
	return p
}
