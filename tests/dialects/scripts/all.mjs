// Every call of the JavaScript SDKs that this service answers, as their users write them; prints what came as JSON.
import { createGateway } from "@ai-sdk/gateway";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { GoogleGenAI } from "@google/genai";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import * as ai from "ai";
import OpenAI, { toFile } from "openai";

const ORIGIN = process.env.NBP_ORIGIN;
const apiKey = process.env.NBP_API_KEY;
const MODEL = "gemini-3-pro-image";
const major = Number(process.env.NBP_AI_MAJOR);
const generateImage = ai.generateImage ?? ai.experimental_generateImage;
const seen = {};

// What a call gives, or how it fails: the error's name, its status, and after how many tries.
async function see(name, call) {
  try {
    seen[name] = (await call()) ?? null;
  } catch (error) {
    const last = error.errors?.at(-1) ?? error;
    seen[name] = { error: error.name, status: last.statusCode ?? last.status ?? null, tries: error.errors?.length ?? 1 };
  }
}

const isPng = (base64) => base64.startsWith("iVBORw0KGgo");
const typesOf = async (result) => {
  const types = [];
  for await (const part of result.fullStream) types.push(part.type);
  return types.filter((type) => ["file", "text-delta", "error", "finish"].includes(type));
};

const openai = new OpenAI({ baseURL: `${ORIGIN}/openai/v1`, apiKey });
let png;
await see("openai models", async () => (await openai.models.list()).data.length);
await see("openai generate", async () => {
  const made = await openai.images.generate({ model: MODEL, prompt: "a cat", n: 2, size: "1024x1024" });
  png = Buffer.from(made.data[0].b64_json, "base64");
  return [made.data.length, made.data.every((each) => isPng(each.b64_json))];
});
await see("openai edit", async () => {
  const image = await toFile(png, "x.png", { type: "image/png" });
  const made = await openai.images.edit({ model: MODEL, prompt: "red", image: [image, image] });
  return isPng(made.data[0].b64_json);
});
await see("openai stream", async () => {
  const types = [];
  for await (const event of await openai.images.generate({ model: MODEL, prompt: "a stream", stream: true })) {
    types.push(event.type);
  }
  return types;
});
await see("openai chat", async () => {
  const messages = [{ role: "user", content: "a chat" }];
  const { choices } = await openai.chat.completions.create({ model: MODEL, messages });
  return [choices[0].message.images.length, isPng(choices[0].message.images[0].image_url.url.split(",")[1])];
});
await see("openai responses", async () => {
  const { output } = await openai.responses.create({ model: MODEL, input: "a response" });
  return isPng(output.find((each) => each.type === "image_generation_call").result);
});
await see("openai files", async () => {
  const file = await openai.files.create({ file: await toFile(png, "x.png"), purpose: "vision" });
  const names = (await openai.files.list()).data.map((each) => each.id);
  return [names.includes(file.id), (await openai.files.delete(file.id)).deleted];
});
await see("openai batch", async () => {
  const line = { custom_id: "one", method: "POST", url: "/v1/images/generations", body: { model: MODEL, prompt: "a batch" } };
  const sent = await openai.files.create({ file: await toFile(Buffer.from(JSON.stringify(line)), "in.jsonl"), purpose: "batch" });
  let batch = await openai.batches.create({ input_file_id: sent.id, endpoint: line.url, completion_window: "24h" });
  while (batch.status !== "completed") {
    await new Promise((resolve) => setTimeout(resolve, 200));
    batch = await openai.batches.retrieve(batch.id);
  }
  const result = JSON.parse(await (await openai.files.content(batch.output_file_id)).text());
  return [result.custom_id, isPng(result.response.body.data[0].b64_json)];
});
await see("openai refused", () => openai.images.generate({ model: MODEL, prompt: "sandbox:refuse" }));
await see("openai key", () => new OpenAI({ baseURL: `${ORIGIN}/openai/v1`, apiKey: "wrong" }).models.list());

const path = { 5: "v1", 6: "v3", 7: "v4" }[major];
const gateway = createGateway({ baseURL: `${ORIGIN}/ai-gateway/${path}/ai`, apiKey });
const nano = gateway(`google/${MODEL}`);
await see("gateway text", async () => {
  const made = await ai.generateText({ model: nano, prompt: "a text", providerOptions: { gateway: { tags: ["t"] } } });
  return [made.files.length, isPng(made.files[0].base64), made.text !== "", made.finishReason, made.usage.inputTokens];
});
await see("gateway turns", async () => {
  const messages = [{ role: "user", content: "a first turn" }];
  messages.push(...(await ai.generateText({ model: nano, messages })).response.messages);
  messages.push({ role: "user", content: "a second turn" });
  const made = await ai.generateText({ model: nano, messages });
  return [made.files.length, made.usage.inputTokens > 500];
});
await see("gateway file in", async () => {
  const content = [{ type: "text", text: "red" }, { type: "file", mediaType: "image/png", data: png }];
  return (await ai.generateText({ model: nano, messages: [{ role: "user", content }] })).files.length;
});
await see("gateway stream", () => typesOf(ai.streamText({ model: nano, prompt: "a stream of parts" })));
await see("gateway failed stream", () =>
  typesOf(ai.streamText({ model: nano, prompt: "sandbox:refuse", onError: () => {} })),
);
await see("gateway image", async () => {
  const model = (gateway.imageModel ?? gateway.image)(`google/${MODEL}`);
  const made = await generateImage({ model, prompt: "an image", n: 2, size: "1024x1024" });
  return [made.images.length, isPng(made.images[0].base64)];
});
if (major > 5) {
  await see("gateway edit", async () => {
    const model = gateway.imageModel(`google/${MODEL}`);
    return (await generateImage({ model, prompt: { text: "an edit", images: [png] } })).images.length;
  });
}
await see("gateway refused", () => ai.generateText({ model: nano, prompt: "sandbox:refuse" }));
await see("gateway refused image", () =>
  generateImage({ model: gateway.imageModel(`google/${MODEL}`), prompt: "sandbox:refuse" }),
);
await see("gateway no model", () => ai.generateText({ model: gateway("google/nothing"), prompt: "x" }));
await see("gateway key", () =>
  ai.generateText({ model: createGateway({ baseURL: `${ORIGIN}/ai-gateway/${path}/ai`, apiKey: "wrong" })(MODEL), prompt: "x" }),
);
await see("gateway config", async () => (await gateway.getAvailableModels()).models.map((each) => each.modelType));
await see("gateway credits", async () => Number((await gateway.getCredits()).balance) > 0);

const google = createGoogleGenerativeAI({ baseURL: `${ORIGIN}/gemini/v1beta`, apiKey });
await see("google text", async () => {
  const providerOptions = { google: { responseModalities: ["TEXT", "IMAGE"], imageConfig: { aspectRatio: "16:9" } } };
  const made = await ai.generateText({ model: google(MODEL), prompt: "a google text", providerOptions });
  return [made.files.length, isPng(made.files[0].base64), made.text !== ""];
});
await see("google turns", async () => {
  const messages = [{ role: "user", content: "a google turn" }];
  messages.push(...(await ai.generateText({ model: google(MODEL), messages })).response.messages);
  messages.push({ role: "user", content: "another google turn" });
  const made = await ai.generateText({ model: google(MODEL), messages });
  return [made.files.length, made.usage.inputTokens > 500];
});
await see("google stream", () => typesOf(ai.streamText({ model: google(MODEL), prompt: "a google stream" })));
if (major > 5) {
  // Version 6 asks for one at a time only.
  const n = major === 6 ? 1 : 2;
  await see("google image", async () => {
    return (await generateImage({ model: google.image(MODEL), prompt: "a google image", n })).images.length;
  });
  await see("google refused image", () => generateImage({ model: google.image(MODEL), prompt: "sandbox:refuse" }));
  await see("google no image", () => generateImage({ model: google.image(MODEL), prompt: "sandbox:no-image" }));
}

const compatible = createOpenAICompatible({ name: "nbp", baseURL: `${ORIGIN}/openai/v1`, apiKey, includeUsage: true });
await see("compatible image", async () => {
  const made = await generateImage({ model: compatible.imageModel(MODEL), prompt: "a compatible image", n: 2 });
  return [made.images.length, isPng(made.images[0].base64)];
});
await see("compatible chat", async () => {
  const made = await ai.generateText({ model: compatible(MODEL), prompt: "a compatible chat" });
  return [made.text !== "", made.usage.inputTokens > 0];
});
await see("compatible stream", () => typesOf(ai.streamText({ model: compatible(MODEL), prompt: "a compatible stream" })));
await see("compatible refused", () =>
  generateImage({ model: compatible.imageModel(MODEL), prompt: "sandbox:refuse" }),
);

const provider = createOpenAI({ baseURL: `${ORIGIN}/openai/v1`, apiKey });
await see("provider image", async () => {
  return (await generateImage({ model: provider.image(MODEL), prompt: "a provider image" })).images.length;
});
await see("provider responses", async () => {
  // Version 5 breaks off at a tool's result whose tool its caller has not named.
  const tools = major === 5 ? { image_generation: provider.tools.imageGeneration({}) } : undefined;
  const made = await ai.generateText({ model: provider(MODEL), prompt: "a provider response", tools });
  return [made.text !== "", made.finishReason];
});

const router = createOpenRouter({ baseURL: `${ORIGIN}/openrouter/api/v1`, apiKey });
await see("router chat", async () => {
  const made = await ai.generateText({ model: router(`google/${MODEL}`), prompt: "a router chat" });
  return [made.files.length, made.text !== "", made.providerMetadata?.openrouter?.usage?.cost > 0];
});
await see("router turns", async () => {
  const messages = [{ role: "user", content: "a router turn" }];
  messages.push(...(await ai.generateText({ model: router(`google/${MODEL}`), messages })).response.messages);
  messages.push({ role: "user", content: "another router turn" });
  const made = await ai.generateText({ model: router(`google/${MODEL}`), messages });
  return [made.files.length, made.usage.inputTokens > 500];
});
await see("router stream", () => typesOf(ai.streamText({ model: router(`google/${MODEL}`), prompt: "a router stream" })));
if (router.imageModel && major > 5) {
  await see("router image", async () => {
    return (await generateImage({ model: router.imageModel(`google/${MODEL}`), prompt: "a router image" })).images.length;
  });
}
await see("router refused", () => ai.generateText({ model: router(`google/${MODEL}`), prompt: "sandbox:refuse" }));

const genai = new GoogleGenAI({ apiKey, httpOptions: { baseUrl: `${ORIGIN}/gemini` } });
await see("genai generate", async () => {
  const config = { responseModalities: ["TEXT", "IMAGE"], imageConfig: { aspectRatio: "16:9" } };
  const made = await genai.models.generateContent({ model: MODEL, contents: "a genai image", config });
  return made.candidates[0].content.parts.filter((part) => part.inlineData && isPng(part.inlineData.data)).length;
});
await see("genai stream", async () => {
  let images = 0;
  for await (const chunk of await genai.models.generateContentStream({ model: MODEL, contents: "a genai stream" })) {
    images += chunk.candidates[0].content.parts.filter((part) => part.inlineData).length;
  }
  return images;
});
await see("genai chat", async () => {
  const chat = genai.chats.create({ model: MODEL });
  await chat.sendMessage({ message: "a genai chat" });
  const second = await chat.sendMessage({ message: "and another" });
  return second.usageMetadata.promptTokenCount > 500;
});
await see("genai files", async () => {
  const file = await genai.files.upload({ file: new Blob([png], { type: "image/png" }), config: { displayName: "x" } });
  const contents = [{ fileData: { fileUri: file.uri, mimeType: file.mimeType } }, { text: "a genai file" }];
  const made = await genai.models.generateContent({ model: MODEL, contents });
  const pieces = await genai.files.upload({ file: new Blob([Buffer.alloc(9 * 2 ** 20)], { type: "image/png" }) });
  await genai.files.delete({ name: file.name });
  return [made.usageMetadata.promptTokenCount > 500, Number(pieces.sizeBytes)];
});
await see("genai batch", async () => {
  const src = [{ contents: [{ role: "user", parts: [{ text: "a genai batch" }] }], metadata: { key: "k1" } }];
  let batch = await genai.batches.create({ model: MODEL, src, config: { displayName: "x" } });
  while (batch.state === "JOB_STATE_PENDING" || batch.state === "JOB_STATE_RUNNING") {
    await new Promise((resolve) => setTimeout(resolve, 200));
    batch = await genai.batches.get({ name: batch.name });
  }
  const [result] = batch.dest.inlinedResponses;
  const picture = result.response.candidates[0].content.parts.find((part) => part.inlineData);
  return [batch.state, result.metadata?.key, isPng(picture.inlineData.data)];
});
await see("genai models", async () => {
  const names = [];
  for await (const each of await genai.models.list({ config: { pageSize: 2 } })) names.push(each.name);
  return names.length;
});
await see("genai tokens", async () => (await genai.models.countTokens({ model: MODEL, contents: "a cat" })).totalTokens > 0);
await see("genai blocked", async () => {
  const made = await genai.models.generateContent({ model: MODEL, contents: "sandbox:refuse" });
  return made.promptFeedback.blockReason;
});
await see("genai no model", () => genai.models.generateContent({ model: "nothing", contents: "x" }));
console.log(JSON.stringify(seen));
