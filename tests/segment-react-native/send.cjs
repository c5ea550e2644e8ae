// Sends one message of each kind with Segment's own client for React Native, beside stand-ins for the
// parts of a telephone that it asks: node send.cjs URL WRITE_KEY WHO
const Module = require("module");

const telephone = {
  appName: "Shop", appVersion: "1.4", buildNumber: "1", bundleId: "example.shop", deviceId: "b3f1",
  deviceName: "iPhone", deviceType: "ios", manufacturer: "Apple", model: "iPhone15,2",
  osName: "iOS", osVersion: "18.0", locale: "es-ES", timezone: "Europe/Madrid",
  networkType: "wifi", screenWidth: 390, screenHeight: 844, screenDensity: 3,
};
const parts = {
  "react-native": {
    AppState: { currentState: "active", addEventListener: () => ({ remove() {} }) },
    Platform: { OS: "ios", select: (one) => one.ios ?? one.default },
    NativeModules: { AnalyticsReactNative: { getContextInfo: async () => telephone } },
    NativeEventEmitter: class {
      addListener() {
        return { remove() {} };
      }
    },
  },
  react: { createContext: () => ({}) },
  "react-native-get-random-values": {},
};
const load = Module._load;
Module._load = (name, ...rest) => parts[name] ?? load(name, ...rest);
globalThis.__DEV__ = false;

const { createClient } = require("@segment/analytics-react-native");

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function main() {
  const [url, writeKey, userId] = process.argv.slice(2);
  const client = createClient({
    writeKey,
    proxy: `${url}/v1`,
    cdnProxy: `${url}/v1`,
    useSegmentEndpoints: true,
    allowInsecureProxy: true,
    trackAppLifecycleEvents: false,
    flushAt: 100,
    flushInterval: 0,
  });
  while (!client.isReady.value) await pause(50);
  await client.identify(userId, { plan: "gold" });
  await client.track("Viewed", { total: 9.5 });
  await client.screen("Home", { tab: 1 });
  await client.group(`g-${userId}`, { employees: 3 });
  await client.alias(`${userId}-2`);
  for (let tries = 0; tries < 120 && (await client.pendingEvents()); tries++) {
    await client.flush();
    await pause(250);
  }
  process.exit((await client.pendingEvents()) ? 1 : 0);
}

main();
