package lab

import "github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"

// Image is the container image that pods of the lab can use.
const Image = artifact.BusyboxImage
