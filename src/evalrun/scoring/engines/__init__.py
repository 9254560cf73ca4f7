"""Scorers whose weights are held by an engine: a server that speaks OpenAI's protocol, or vLLM in this process.

protocol           what a server's answers say
server_client      requests to it: several at once, again where one is lost
keeper, served_checkpoint   the user's command that serves a checkpoint, ended with all that it started
engine_model       prompts, stops and windows by lm-eval's rules, whatever holds the weights
server_model, vllm_model    the two engines
known_answers, weights_check   that it is this checkpoint which answers
opened             one of them for a job
"""
