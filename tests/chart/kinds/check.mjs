// Reads objects as a JSON list and prints, for each, what the validators made of the Go types find wrong with it, or null.
// They look at types, patterns and what is required; that no member is unknown is what the compiler of TypeScript finds.
import { HTTPRoute } from '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute';
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import { ServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';

const kinds = { HTTPRoute, PrometheusRule, ServiceMonitor };
let text = '';
for await (const piece of process.stdin) text += piece;
const findings = JSON.parse(text).map((object) => {
  try {
    const Kind = kinds[object.kind];
    if (object.apiVersion !== Kind.apiVersion) return `apiVersion is not ${Kind.apiVersion}`;
    new Kind(object).validate();
    return null;
  } catch (error) {
    return String(error);
  }
});
console.log(JSON.stringify(findings));
