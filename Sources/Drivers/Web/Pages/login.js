import { ask } from "/assets/api.js";

const form = document.getElementById("login");
const problem = document.getElementById("problem");
const button = form.querySelector("button");
const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
document.getElementById("plain-http").hidden = location.protocol === "https:" || isHere;

form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    button.disabled = true;
    try {
        await ask("POST", "/login", { user: form.user.value, password: form.password.value });
        location.assign("/");
    } catch (error) {
        problem.textContent = `${error.message[0].toUpperCase()}${error.message.slice(1)}: ${error.remedy}`;
        problem.hidden = false;
        form.password.select();
        form.password.focus();
        button.disabled = false;
    }
});
