{{/* What the schema cannot say. Each message names the value and what to do. */}}
{{- define "revocation-hub.validate" -}}
{{- $v := .Values -}}
{{- if not $v.image.repository -}}
{{- fail "image.repository is empty: name the image that you have built of integrations/container/Dockerfile" -}}
{{- end -}}

{{- $letIn := $v.config.clients -}}
{{- range $v.config.issuers -}}
{{- if .credentials -}}{{- $letIn = list . -}}{{- end -}}
{{- end -}}
{{- if not $letIn -}}
{{- fail "config.clients is empty: in a pod the hub is reachable for others, and without clients anybody could revoke every token, so it would refuse to start. Give at least one client, with its password or token in a Secret of secretFiles" -}}
{{- end -}}

{{- if eq $v.database.kind "sqlite" -}}
{{- if $v.autoscaling.enabled -}}
{{- fail "autoscaling.enabled: a SQLite file belongs to one hub; use database.kind=postgres for several" -}}
{{- end -}}
{{- if gt (int $v.replicas) 1 -}}
{{- fail (printf "replicas is %d: a SQLite file belongs to one hub; set replicas=1, or use database.kind=postgres for several" (int $v.replicas)) -}}
{{- end -}}
{{- if eq $v.migrations.mode "job" -}}
{{- fail "migrations.mode=job: the volume of the SQLite file is not there yet when the Job runs; use start or init" -}}
{{- end -}}
{{- else if not $v.database.postgres.existingSecret -}}
{{- fail "database.postgres.existingSecret is empty: name the Secret that holds the URL of the database" -}}
{{- end -}}

{{- if and $v.networkPolicy.enabled (eq $v.database.kind "postgres") (not $v.networkPolicy.egress.database.peers) -}}
{{- fail "networkPolicy.egress.database.peers is empty: the policy would cut the hub off from its database. Say where Postgres is, or set networkPolicy.enabled=false" -}}
{{- end -}}

{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}

{{- $least := int (include "revocation-hub.leastGrace" .) -}}
{{- if lt (int (include "revocation-hub.grace" .)) $least -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but preStopSleepSeconds, config.shutdown.grace, 6 s for sources and outlets and three times config.store.timeout need %d: a hub could be killed before it has ended. Leave it out to have it computed" (int $v.terminationGracePeriodSeconds) $least) -}}
{{- end -}}
{{- with $v.config.shutdown.drain -}}
{{- if ge (int64 (include "revocation-hub.milliseconds" .)) (int64 (include "revocation-hub.milliseconds" $v.config.shutdown.grace)) -}}
{{- fail (printf "config.shutdown.drain (%v) has to be shorter than config.shutdown.grace (%v): streams leave within the first, and the second cuts what is left" . $v.config.shutdown.grace) -}}
{{- end -}}
{{- end -}}

{{- if and $v.tls.clients.existingSecret (not $v.tls.existingSecret) -}}
{{- fail "tls.clients.existingSecret needs tls.existingSecret: only a hub that speaks TLS can ask for certificates" -}}
{{- end -}}
{{- if and $v.tls.clients.existingSecret (eq $v.tls.clients.certificates "required") -}}
{{- if not $v.admin.port -}}
{{- fail "tls.clients.certificates=required: probes have no certificate; let them have a port of their own (admin.port)" -}}
{{- end -}}
{{- if $v.test.existingSecret -}}
{{- fail "tls.clients.certificates=required: helm test has no certificate; leave test.existingSecret empty" -}}
{{- end -}}
{{- end -}}
{{- if eq (int64 $v.admin.port) (int64 $v.containerPort) -}}
{{- fail "admin.port and containerPort are the same" -}}
{{- end -}}

{{- if $v.ingress.enabled -}}
{{- if not $v.ingress.hosts -}}{{- fail "ingress.hosts is empty: an Ingress without hosts leads nowhere" -}}{{- end -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: name the Gateway" -}}
{{- end -}}

{{- if and $v.podDisruptionBudget.enabled (gt (int (include "revocation-hub.pods" .)) 1) (ge (int $v.podDisruptionBudget.maxUnavailable) (int (include "revocation-hub.pods" .))) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable is %d of %d pods: that keeps nothing; make it smaller" (int $v.podDisruptionBudget.maxUnavailable) (int (include "revocation-hub.pods" .))) -}}
{{- end -}}

{{- range $name, $labels := dict "commonLabels" $v.commonLabels "podLabels" $v.podLabels -}}
{{- range $key, $_ := $labels -}}
{{- if or (hasPrefix "app.kubernetes.io/" $key) (hasPrefix "helm.sh/" $key) -}}
{{- fail (printf "%s: %s is the chart's own; selectors are made of these" $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $v.extraEnv -}}
{{- if hasPrefix "REVOCATION_HUB_" (upper .name) -}}
{{- fail (printf "extraEnv: %s would be stronger than what the chart says and checks. Settings go under config, secrets into a Secret of secretFiles" .name) -}}
{{- end -}}
{{- if and (hasKey . "value") (regexMatch "(?i)(passw|passphrase|secret|token|credential|api_?key|private)" .name) (not (hasSuffix "_FILE" (upper .name))) -}}
{{- fail (printf "extraEnv: %s looks like a secret, and values are no place for one: use valueFrom.secretKeyRef" .name) -}}
{{- end -}}
{{- if and (hasKey . "value") (regexMatch "://[^/@]*:[^/@]*@" .value) -}}
{{- fail (printf "extraEnv: the URL in %s contains a password, and values are no place for one: use valueFrom.secretKeyRef" .name) -}}
{{- end -}}
{{- end -}}

{{- range $v.extraVolumes -}}
{{- if regexMatch "^(config|database|migrations|data|tmp|tls|client-ca|(secret|files)-[0-9]+)$" .name -}}
{{- fail (printf "extraVolumes: the name %s is the chart's own" .name) -}}
{{- end -}}
{{- end -}}
{{- range $v.extraVolumeMounts -}}
{{- if regexMatch "^(/|/usr(/.*)?|/etc|/etc/revocation-hub(/.*)?|/run(/secrets)?|/run/(secrets|files)/revocation-hub.*|/var(/lib)?|/var/lib/revocation-hub.*)$" (clean .mountPath) -}}
{{- fail (printf "extraVolumeMounts: %s would hide what the chart or the image has there" .mountPath) -}}
{{- end -}}
{{- end -}}

{{- $mounted := list -}}
{{- range $v.secretFiles -}}{{- $mounted = append $mounted (printf "/run/secrets/revocation-hub/%s/" .) -}}{{- end -}}
{{- range $v.configMapFiles -}}{{- $mounted = append $mounted (printf "/run/files/revocation-hub/%s/" .) -}}{{- end -}}
{{- range $v.extraVolumeMounts -}}{{- $mounted = append $mounted (printf "%s/" (trimSuffix "/" .mountPath)) -}}{{- end -}}
{{- include "revocation-hub.validateFiles" (dict "value" $v.config "place" "config" "mounted" $mounted) -}}
{{- end -}}

{{/* Every setting that names a file names one that is mounted; else the hub would find out, and only in the pod. */}}
{{- define "revocation-hub.validateFiles" -}}
{{- $here := . -}}
{{- if kindIs "map" .value -}}
{{- range $key, $value := .value -}}
{{- $place := printf "%s.%s" $here.place $key -}}
{{- if and (hasSuffix "_file" $key) (kindIs "string" $value) -}}
{{- $found := false -}}
{{- range $here.mounted -}}{{- if hasPrefix . $value -}}{{- $found = true -}}{{- end -}}{{- end -}}
{{- if not $found -}}
{{- fail (printf "%s: nothing is mounted at %s; put its Secret into secretFiles (/run/secrets/revocation-hub/SECRET/KEY) or its ConfigMap into configMapFiles (/run/files/revocation-hub/CONFIGMAP/KEY)" $place $value) -}}
{{- end -}}
{{- else -}}
{{- include "revocation-hub.validateFiles" (dict "value" $value "place" $place "mounted" $here.mounted) -}}
{{- end -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $i, $value := .value -}}
{{- include "revocation-hub.validateFiles" (dict "value" $value "place" (printf "%s[%d]" $here.place $i) "mounted" $here.mounted) -}}
{{- end -}}
{{- end -}}
{{- end -}}
