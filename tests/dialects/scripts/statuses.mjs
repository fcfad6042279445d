// How errors of every status look to callers of the JavaScript SDKs.
import { createGateway } from "@ai-sdk/gateway";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { GoogleGenAI } from "@google/genai";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import * as ai from "ai";
import OpenAI from "openai";

const ORIGIN = process.env.NBP_ORIGIN;
const KEYS = JSON.parse(process.env.NBP_KEYS);
const MODEL = "gemini-3-pro-image";
const path = { 5: "v1", 6: "v3", 7: "v4" }[Number(process.env.NBP_AI_MAJOR)];
const prompt = "x";
const seen = {};

const CALLS = {
  openai: (apiKey) =>
    new OpenAI({ baseURL: `${ORIGIN}/openai/v1`, apiKey, maxRetries: 0 }).images.generate({ model: MODEL, prompt }),
  genai: (apiKey) =>
    new GoogleGenAI({ apiKey, httpOptions: { baseUrl: `${ORIGIN}/gemini` } }).models.generateContent({
      model: MODEL,
      contents: prompt,
    }),
  google: (apiKey) =>
    ai.generateText({
      model: createGoogleGenerativeAI({ apiKey, baseURL: `${ORIGIN}/gemini/v1beta` })(MODEL),
      prompt,
      maxRetries: 0,
    }),
  gateway: (apiKey) =>
    ai.generateText({
      model: createGateway({ baseURL: `${ORIGIN}/ai-gateway/${path}/ai`, apiKey })(`google/${MODEL}`),
      prompt,
      maxRetries: 0,
    }),
  router: (apiKey) =>
    ai.generateText({
      model: createOpenRouter({ baseURL: `${ORIGIN}/openrouter/api/v1`, apiKey })(`google/${MODEL}`),
      prompt,
      maxRetries: 0,
    }),
};

for (const [name, call] of Object.entries(CALLS)) {
  seen[name] = {};
  for (const key of ["wrong", "poor", "narrow", "spent", "unserved"]) {
    try {
      await call(KEYS[key]);
      seen[name][key] = 200;
    } catch (error) {
      seen[name][key] = error.statusCode ?? error.status ?? error.cause?.statusCode ?? error.name;
    }
  }
}
console.log(JSON.stringify(seen));
