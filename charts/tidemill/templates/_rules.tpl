{{- /* What the operator may do where it watches. kube/ and runtime/ use exactly these verbs. */ -}}
{{- define "tidemill.operatorRules" -}}
- apiGroups: [tidemill.dev]
  resources: [datasets, trainingruns, modelversions, modelplacements, deployments, driftpolicies, servingpools]
  verbs: [get, list, watch]
- apiGroups: [tidemill.dev]
  resources:
    - datasets/status
    - trainingruns/status
    - modelversions/status
    - deployments/status
    - driftpolicies/status
    - servingpools/status
  verbs: [patch]
# Retraining makes Datasets and TrainingRuns, a run its ModelVersion (which promotion patches), a Deployment its placements.
- apiGroups: [tidemill.dev]
  resources: [datasets, trainingruns, modelversions, modelplacements]
  verbs: [create, patch]
# Placements that are no longer wanted, and Datasets and TrainingRuns of a policy's attempts older than the newest ten.
- apiGroups: [tidemill.dev]
  resources: [modelplacements, datasets, trainingruns]
  verbs: [delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# Of runs with spec.distribution.jobSet, where the cluster serves JobSet.
- apiGroups: [jobset.x-k8s.io]
  resources: [jobsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# Ray clusters of Datasets, where KubeRay is installed.
- apiGroups: [ray.io]
  resources: [rayclusters]
  verbs: [get, list, watch, create, delete]
# Each pool's agent is bound to the agent's role, and to no other.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, list, watch, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [{{ ternary "roles" "clusterroles" (gt (len .Values.watchNamespaces) 0) }}]
  resourceNames: [{{ include "tidemill.agentRole" . }}]
  verbs: [bind]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end }}

{{- /* What the agent beside each server may do in its namespace. */ -}}
{{- define "tidemill.agentRules" -}}
- apiGroups: [tidemill.dev]
  resources: [modelplacements]
  verbs: [get, list, watch]
- apiGroups: [tidemill.dev]
  resources: [modelplacements/status]
  verbs: [patch]
{{- end }}

{{- define "tidemill.viewRules" -}}
- apiGroups: [tidemill.dev]
  resources: [datasets, trainingruns, modelversions, deployments, driftpolicies, servingpools, modelplacements]
  verbs: [get, list, watch]
- apiGroups: [tidemill.dev]
  resources: [servingpools/scale]
  verbs: [get]
{{- end }}

{{- /* ModelPlacements are the operator's alone. */ -}}
{{- define "tidemill.editRules" -}}
{{ include "tidemill.viewRules" . }}
- apiGroups: [tidemill.dev]
  resources: [datasets, trainingruns, modelversions, deployments, driftpolicies, servingpools]
  verbs: [create, update, patch, delete, deletecollection]
- apiGroups: [tidemill.dev]
  resources: [servingpools/scale]
  verbs: [update, patch]
{{- end }}
