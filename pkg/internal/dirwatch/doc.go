// Package dirwatch watches directories that may not exist yet, may be removed,
// moved away and made again, or be mounted over: it watches every directory on
// the way to them that exists, so that the creation of the next one is seen.
//
// It is level-triggered. Events say that something happened, and may be lost;
// whoever gets one calls [Watcher.Follow], then looks at the files themselves.
//
// It imports pkg/internal/fileid and fsnotify. It starts no goroutine but the one
// of fsnotify, waits for nothing, and reads no file.
package dirwatch
