# Prediction intervals: data.csv -> expected_prediction.json. Rscript tests/reference/make_prediction.R
suppressMessages({ library(lme4); library(jsonlite) })
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
data <- read.csv(file.path(here, "data.csv"))
exactly <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5))
one <- function(rows) {
  d <- data.frame(value = rows$value, parameters = log10(rows$parameters), tokens = log10(rows$tokens),
                  model = factor(rows$model))
  size <- max(rows$parameters); last <- max(rows$tokens)
  # Between the rows, a tenfold of parameters beyond them, a tenfold of tokens.
  there <- data.frame(size = c(sqrt(min(rows$parameters) * size), 10 * size, size),
                      training = c(sqrt(min(rows$tokens) * last), last, 10 * last))
  new <- data.frame(parameters = log10(there$size), tokens = log10(there$training))
  ols <- predict(lm(value ~ parameters * tokens, data = d), new, interval = "prediction", level = 0.95)
  # Standardised as the analysis does it: the criterion's optimum is sharper so, and the model the same.
  z <- function(v, w = v) (w - mean(v)) / sd(v)
  s <- data.frame(value = z(d$value), parameters = z(d$parameters), tokens = z(d$tokens), model = d$model)
  fit <- lmer(value ~ parameters * tokens + (1 + tokens | model), data = s, control = exactly)
  x <- cbind(1, z(d$parameters, new$parameters), z(d$tokens, new$tokens))
  x <- cbind(x, x[, 2] * x[, 3])
  own <- x[, c(1, 3)]
  G <- matrix(as.numeric(VarCorr(fit)$model), 2)
  variance <- rowSums((x %*% as.matrix(vcov(fit))) * x) + rowSums((own %*% G) * own) + sigma(fit)^2
  list(size = there$size, training = there$training,
       ols = list(value = unname(ols[, "fit"]), low = unname(ols[, "lwr"]), high = unname(ols[, "upr"])),
       mixed = list(value = as.numeric(mean(d$value) + sd(d$value) * (x %*% fixef(fit))),
                    stderr = sd(d$value) * sqrt(variance)))
}
tasks <- lapply(split(data, factor(data$task, levels = unique(data$task))), one)
packages <- list(lme4 = as.character(packageVersion("lme4")))
writeLines(toJSON(list(R = R.version.string, packages = packages, tasks = tasks), digits = NA, auto_unbox = TRUE,
                  pretty = TRUE), file.path(here, "expected_prediction.json"))
