package deviceplugin

import (
	"context"
	"errors"
	"io/fs"
	"os"
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
	return &registerapi.PluginInfo{
		Type: registerapi.DevicePlugin, Name: r.owner.resource, Endpoint: r.owner.socket,
		SupportedVersions: []string{v1beta1.Version},
	}, nil
}

// NotifyRegistrationStatus implements registerapi.RegistrationServer. After a
// refusal our socket is made anew, with a growing delay: that is what makes the
// kubelet look at it again.
func (r registration) NotifyRegistrationStatus(_ context.Context, st *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	s := r.owner
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.GetPluginRegistered() {
		s.count++
		s.regErr = ""
		s.log.Info("registered with the kubelet", "socket", s.socket)
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
	s.mu.Lock()
	wait := time.Duration(0)
	renew := s.renew && s.lis != nil
	if renew {
		if wait = s.notBefore.Sub(now); wait <= 0 {
			s.renew, wait = false, 0
		} else {
			renew = false
		}
	}
	s.mu.Unlock()
	if renew && lookup(s.socket).sameInode(s.lisID) {
		if err := os.Remove(s.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.report(err)
		}
	}
	listenErr := s.listen(ctx, now, wg)

	s.mu.Lock()
	before := [3]string{s.waiting, s.lisErr, s.regErr}
	s.waiting, s.lisErr = "", ""
	switch {
	case listenErr != nil:
		s.lisErr = listenErr.Error()
		s.waiting = "our own socket"
	case s.lis == nil:
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
	s.report(listenErr)
	if listenErr != nil {
		if d := max(s.lisAfter.Sub(now), time.Millisecond); wait == 0 || d < wait {
			wait = d
		}
	}
	return wait
}
