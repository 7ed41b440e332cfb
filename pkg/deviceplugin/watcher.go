package deviceplugin

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registryDirName is the folder below the kubelet's root folder that its plugin
// watcher looks after: it dials every socket that appears there.
const registryDirName = "plugins_registry"

// registration is the plugin watcher's API of one pool.
type registration struct {
	registerapi.UnimplementedRegistrationServer

	owner *server
}

// GetInfo implements registerapi.RegistrationServer.
func (r registration) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	_, link := r.owner.place.paths()
	return &registerapi.PluginInfo{
		Type: registerapi.DevicePlugin, Name: r.owner.resource, Endpoint: r.owner.opts.HostPath(link),
		SupportedVersions: []string{v1beta1.Version},
	}, nil
}

// NotifyRegistrationStatus implements registerapi.RegistrationServer. After a
// refusal the link is replaced by one with another name, with a growing delay:
// that is what makes the kubelet try again.
func (r registration) NotifyRegistrationStatus(_ context.Context, st *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	s := r.owner
	_, link := s.place.paths()
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.GetPluginRegistered() {
		s.count++
		s.regErr = ""
		s.log.Info("registered with the kubelet", "socket", link)
	} else {
		s.fails++
		s.notBefore = time.Now().Add(backoff(s.fails))
		s.renew = true
		s.regErr = "the kubelet refused the registration: " + some([]string{st.GetError()})
	}
	notify(s.kick)
	return &registerapi.RegistrationStatusResponse{}, nil
}

// lookWatched is look for the plugin watcher's folder: the kubelet finds our
// socket by itself, after its own restarts too.
func (s *server) lookWatched(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	now := time.Now()
	renew, wait := s.takeRenewDue(now)
	if renew {
		s.place.unlink()
	}
	placeErr := s.offer(ctx, now, wg)
	_, link := s.place.paths()

	s.mu.Lock()
	before := [3]string{s.waiting, s.lisErr, s.regErr}
	s.waiting, s.lisErr = "", ""
	switch {
	case placeErr != nil:
		s.lisErr = placeErr.Error()
		s.waiting = "our own socket"
	case link == "":
		s.waiting = "the kubelet to create " + registryDirName
	case len(s.streams) == 0:
		s.waiting = "the kubelet to find our socket"
	}
	// What the last look said may have changed since, by a notification.
	news := before != [3]string{s.waiting, s.lisErr, s.regErr} || s.told != s.regErr
	s.told = s.regErr
	refused := s.regErr
	s.mu.Unlock()
	if news {
		s.changed()
	}
	if refused != "" {
		s.report(errors.New(refused))
	}
	s.report(placeErr)
	return s.place.sooner(wait, now)
}

// takeRenewDue is takeRenew for the plugin watcher, where a new link is the next
// attempt: it has to wait for its time.
func (s *server) takeRenewDue(now time.Time) (renew bool, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.renew {
		return false, 0
	}
	if wait = s.notBefore.Sub(now); wait > 0 {
		return false, wait
	}
	s.renew = false
	return true, 0
}
