package machineconfig

// Rule says what becomes of a list or a mapping that config and patch both have.
type Rule struct {
	// Replace: the patch's value takes the place of the config's.
	Replace bool
	// Keys: an entry of the patch belongs to the entry of the config with the
	// same value of the first of these keys that the patch's entry has. It is
	// merged into that one, and appended where there is none.
	Keys []string
	// Whole: the entry found by Keys is replaced, not merged.
	Whole bool
	// Differs: some versions of Talos append and others replace. Nothing is merged
	// here unless it is there already.
	Differs bool
}

// Rules are what Talos does not do, in one kind of document, as it does everywhere
// else, which is to merge mappings key by key and to append lists. They are by
// path: keys joined by dots, [] for the entries of a list, * for every key of a
// mapping.
type Rules map[string]Rule

// Kinds returns all kinds of documents of Talos 1.12 to 1.14 with their rules. How
// the lists of another kind are merged is not known here.
//
// Source: the merge tags and Merge methods of the configuration types in Talos'
// machinery v1.12.6, v1.13.9 and v1.14.1. The modules in test/contracts compare
// each with this table.
func Kinds() map[string]Rules {
	replace := Rule{Replace: true}
	args := Rules{"extraArgs.*": replace}
	kinds := map[string]Rules{
		KindV1Alpha1: {
			"machine.network.interfaces":            {Keys: []string{"interface", "deviceSelector"}},
			"machine.network.interfaces[].vlans":    {Keys: []string{"vlanId"}},
			"machine.kubelet.extraArgs.*":           replace,
			"cluster.network.podSubnets":            replace,
			"cluster.network.serviceSubnets":        replace,
			"cluster.apiServer.admissionControl":    {Keys: []string{"name"}},
			"cluster.apiServer.auditPolicy":         replace,
			"cluster.apiServer.extraArgs.*":         replace,
			"cluster.controllerManager.extraArgs.*": replace,
			"cluster.etcd.extraArgs.*":              replace,
			"cluster.proxy.extraArgs.*":             replace,
			"cluster.scheduler.extraArgs.*":         replace,
		},
		"BGPInstanceConfig":            {"advertise": replace, "importRoutes": replace, "neighbors": replace},
		"CRIBaseRuntimeSpecConfig":     {"overrides": replace},
		"ExtensionServiceConfig":       {"configFiles": {Keys: []string{"mountPath"}}},
		"ImageVerificationConfig":      {"rules": {Keys: []string{"image"}, Whole: true}},
		"KubeAPIServerConfig":          args,
		"KubeAuditPolicyConfig":        {"configuration": replace},
		"KubeAuthenticationConfig":     {"configuration": replace},
		"KubeControllerManagerConfig":  args,
		"KubeCredentialProviderConfig": {"configuration": replace},
		"KubeNetworkConfig":            {"podSubnets": replace, "serviceSubnets": replace},
		"KubeProxyConfig":              args,
		"KubeSchedulerConfig":          args,
		"KubeStaticPodConfig":          {"pod": replace},
		"KubeletConfig":                args,
		"NetworkRuleConfig":            {"ingress": replace, "portSelector.ports": replace},
		"ResolverConfig":               {"searchDomains.domains": {Differs: true}},
	}
	for _, kind := range []string{
		"BlackholeRouteConfig", "BondConfig", "BridgeConfig", "CRICustomizationConfig", "ContainerConfig",
		"DHCPv4Config", "DHCPv6Config", "DiscoveryIdentityConfig", "DiscoveryServiceConfig",
		"DummyLinkConfig", "EnvironmentConfig", "EtcFileConfig", "EthernetConfig", "EventSinkConfig",
		"ExistingVolumeConfig", "ExternalVolumeConfig", "FilesystemScrubConfig", "FilesystemTrimConfig",
		"HCloudVIPConfig", "HTTPProbeConfig", "HostnameConfig", "ImageCacheConfig", "KernelModuleConfig",
		"KmsgLogConfig", "KubeAPIServerCAConfig", "KubeAdmissionControlConfig", "KubeAggregatorCAConfig",
		"KubeAuthorizerConfig", "KubeClusterConfig", "KubeCoreDNSConfig", "KubeEtcdEncryptionConfig",
		"KubeExternalManifestConfig", "KubeFlannelCNIConfig", "KubeInlineManifestConfig",
		"KubeNodeConfig", "KubePrismConfig", "KubeServiceAccountConfig", "KubeSpanConfig",
		"KubeSpanEndpointsConfig", "KubeTalosAPIAccessConfig", "LVMLogicalVolumeConfig",
		"LVMVolumeGroupConfig", "Layer2VIPConfig", "LinkAliasConfig", "LinkConfig",
		"NetworkDefaultActionConfig", "OOMConfig", "PCIDriverRebindConfig", "RAIDArrayConfig",
		"RawVolumeConfig", "RegistryAuthConfig", "RegistryMirrorConfig", "RegistryTLSConfig",
		"RoutingRuleConfig", "SecurityProfileConfig", "SideroLinkConfig", "StaticHostConfig",
		"SwapVolumeConfig", "SysctlConfig", "SysfsConfig", "TCPProbeConfig", "TimeSyncConfig",
		"TrustedRootsConfig", "UdevRulesConfig", "UnattendedInstallConfig", "UserVolumeConfig",
		"VLANConfig", "VRFConfig", "VethConfig", "VolumeConfig", "WatchdogTimerConfig", "WireguardConfig",
		"ZswapConfig",
	} {
		kinds[kind] = nil
	}
	return kinds
}
