"""Fields and types that RunPod's REST API takes, from its OpenAPI document of 2026 (v1)."""

_TEMPLATE = {
    "containerDiskInGb": int,
    "containerRegistryAuthId": str,
    "dockerEntrypoint": list,
    "dockerStartCmd": list,
    "env": dict,
    "imageName": str,
    "isPublic": bool,
    "name": str,
    "ports": list,
    "readme": str,
    "volumeInGb": int,
    "volumeMountPath": str,
}
_ENDPOINT = {
    "allowedCudaVersions": list,
    "cpuFlavorIds": list,
    "dataCenterIds": list,
    "executionTimeoutMs": int,
    "flashboot": bool,
    "gpuCount": int,
    "gpuTypeIds": list,
    "idleTimeout": int,
    "minCudaVersion": str,
    "name": str,
    "networkVolumeId": str,
    "networkVolumeIds": list,
    "scalerType": str,
    "scalerValue": int,
    "templateId": str,
    "vcpuCount": int,
    "workersMax": int,
    "workersMin": int,
}
UPDATE = {"templates": _TEMPLATE, "endpoints": _ENDPOINT}
CREATE = {
    "templates": {**_TEMPLATE, "category": str, "isServerless": bool},
    "endpoints": {**_ENDPOINT, "computeType": str},
}
GPUS = {  # a part of those that it lists
    "NVIDIA GeForce RTX 4090",
    "NVIDIA A40",
    "NVIDIA GeForce RTX 5090",
    "NVIDIA H100 80GB HBM3",
    "NVIDIA L40S",
    "NVIDIA H200",
    "NVIDIA RTX 6000 Ada Generation",
    "NVIDIA A100-SXM4-80GB",
    "NVIDIA RTX A6000",
    "NVIDIA A100 80GB PCIe",
    "NVIDIA H100 PCIe",
    "NVIDIA H100 NVL",
    "NVIDIA L40",
    "NVIDIA B200",
}
CPUS = {"cpu3c", "cpu3g", "cpu5c", "cpu5g"}
CUDA = {"13.0", "12.9", "12.8", "12.7", "12.6", "12.5", "12.4"}
