# Reference values for the tests of single answers: answers.csv -> expected_items.json. Rscript tests/reference/make_items.R
suppressMessages({library(lme4); library(glmmTMB); library(clubSandwich); library(jsonlite)})
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
data <- read.csv(file.path(here, "answers.csv"))
cells <- unique(data[c("model", "step", "parameters", "tokens")])
z <- function(v, by) (v - mean(by)) / sd(by)
data$p <- z(log10(data$parameters), log10(cells$parameters))
data$t <- z(log10(data$tokens), log10(cells$tokens))
data$checkpoint <- interaction(data$model, data$step)

forms <- list(
  levels = right ~ p * t + (1 | item) + (1 | model),
  slopes = right ~ p * t + (1 | item) + (1 + t | model),
  checkpoints = right ~ p * t + (1 | item) + (1 + t | model) + (1 | checkpoint)
)
spread <- function(fit) {  # standard deviations of items, models, their slopes, checkpoints; correlation
  v <- if (inherits(fit, "glmmTMB")) VarCorr(fit)$cond else VarCorr(fit)
  sd <- function(name, at) if (is.null(v[[name]]) || nrow(v[[name]]) < at) 0 else unname(attr(v[[name]], "stddev")[at])
  r <- attr(v$model, "correlation")
  list(item = sd("item", 1), model = sd("model", 1), slope = sd("model", 2), checkpoint = sd("checkpoint", 1),
       correlation = if (nrow(r) > 1) r[1, 2] else 0)
}
ml <- function(form) {
  fit <- glmer(form, data, family = binomial, nAGQ = 1,
               control = glmerControl(optimizer = "bobyqa", tolPwrss = 1e-13, optCtrl = list(rhoend = 1e-9, maxfun = 1e5)))
  list(estimate = unname(fixef(fit)), stderr = unname(sqrt(diag(as.matrix(vcov(fit, use.hessian = TRUE))))),
       conditional = unname(sqrt(diag(as.matrix(vcov(fit, use.hessian = FALSE))))),
       deviance = -2 * as.numeric(logLik(fit)), sd = spread(fit), singular = isSingular(fit))
}
reml <- function(form) {
  fit <- glmmTMB(form, data, family = binomial, REML = TRUE)
  list(estimate = unname(fixef(fit)$cond), stderr = unname(sqrt(diag(vcov(fit)$cond))),
       deviance = -2 * as.numeric(logLik(fit)), sd = spread(fit))
}
by_template <- function(values) {  # the mean of values over items, errors clustered by template
  template <- data$template[data$model == "m0" & data$step == 1]
  fit <- lm(values ~ 1)
  cr2 <- coef_test(fit, vcov = "CR2", cluster = template, test = "Satterthwaite")
  list(estimate = unname(coef(fit)), stderr = cr2$SE, df = if (is.null(cr2$df)) cr2$df_Satt else cr2$df,
       plain = unname(sqrt(vcov(fit)[1, 1])))
}
right <- function(model, step) data$right[data$model == model & data$step == step]
clustered <- list(accuracy = by_template(right("m2", 16)), difference = by_template(right("m2", 256) - right("m2", 1)))
versions <- sapply(c("lme4", "glmmTMB", "clubSandwich"), function(x) as.character(packageVersion(x)))
writeLines(toJSON(list(R = R.version.string, packages = as.list(versions), ml = lapply(forms, ml),
                       reml = lapply(forms, reml), clustered = clustered),
                  digits = NA, auto_unbox = TRUE, pretty = TRUE), file.path(here, "expected_items.json"))
