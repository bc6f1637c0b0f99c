// A real OpenID provider for the tests: `node provider.mjs PORT HUB KEYS`, where HUB is the hub's URL and KEYS the file with
// its private key set. Its one client is "shop"; whoever comes is logged in as "alice" without being asked. It says
// "listening" when it is.
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [port, hub, keys] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'shop',
      client_secret: 'secret-of-the-shop-secret-of-the-shop',
      redirect_uris: ['https://shop.example/callback'],
      backchannel_logout_uri: `${hub}/backchannel-logout`,
      backchannel_logout_session_required: true,
    },
  ],
  jwks: JSON.parse(readFileSync(keys, 'utf8')),
  cookies: { keys: ['only for tests'] },
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: { enabled: false },
    rpInitiatedLogout: { enabled: true },
  },
  interactions: { url: (_, interaction) => `/login/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  pkce: { required: () => false },
});
provider.on('backchannel.error', (_, error) => console.error('backchannel', error.message));
provider.on('server_error', (_, error) => console.error('server', error));

provider.use(async (context, next) => {
  if (!context.path.startsWith('/login/')) return next();
  const { prompt, params, session } = await provider.interactionDetails(context.req, context.res);
  if (prompt.name === 'login') {
    const result = { login: { accountId: 'alice' } };
    return provider.interactionFinished(context.req, context.res, result);
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope('openid');
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(context.req, context.res, result);
});

provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
