// What the pages gain with scripts; each of them works without.
import "./composing.js";
import "./copying.js";
import "./elapsed.js";
import "./faults.js";
import "./references.js";
