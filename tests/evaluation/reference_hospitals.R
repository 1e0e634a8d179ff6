# The numbers in reference_hospitals.json: Rscript reference_hospitals.R > reference_hospitals.json
# pROC 1.18.0, metafor 3.8-1 (Debian 12). Simulated rows of six hospitals in reference_hospitals.csv.
suppressMessages({library(pROC); library(metafor)})
rows <- read.csv("reference_hospitals.csv")
at_site <- split(rows, rows$site)
out <- list()
put <- function(name, value) out[[name]] <<- as.numeric(value)
curve <- function(at, model) roc(at$label, at[[model]], direction = "<", quiet = TRUE)
meta <- function(name, yi, vi, back = identity, ...) {
  fit <- rma(yi, vi, method = "REML", test = "knha", control = list(threshold = 1e-14, maxiter = 10000), ...)
  at <- predict(fit)
  put(name, c(back(c(fit$beta, fit$ci.lb, fit$ci.ub, at$pi.lb, at$pi.ub)), fit$tau2, fit$QEp))
}

# Stratified DeLong: areas weigh as their pairs, variances of hospitals add; normal interval on the logit scale
network <- lapply(at_site, curve, "network"); clinical <- lapply(at_site, curve, "clinical")
area <- sapply(network, function(r) as.numeric(auc(r))); variance <- sapply(network, function(r) as.numeric(var(r)))
pairs <- sapply(at_site, function(at) sum(at$label) * sum(1 - at$label)); share <- pairs / sum(pairs)
these <- sum(share * area); error <- sqrt(sum(share^2 * variance))
put("these", c(these, plogis(qlogis(these) + c(-1, 1) * qnorm(0.975) * error / (these * (1 - these)))))

# The same of a paired difference, on its own scale
less <- area - sapply(clinical, function(r) as.numeric(auc(r)))
less_variance <- variance + sapply(clinical, function(r) as.numeric(var(r))) -
  2 * mapply(function(one, two) as.numeric(cov(one, two)), network, clinical)
put("these_difference", sum(share * less) + c(0, -1, 1) * qnorm(0.975) * sqrt(sum(share^2 * less_variance)))

# Hospitals like these, and a new one
meta("like_these", qlogis(area), variance / (area * (1 - area))^2, plogis)
meta("like_these_difference", less, less_variance)
summed <- function(at) c(mean((at$network - at$label)^2), var((at$network - at$label)^2) / nrow(at))
brier <- sapply(at_site, summed)
meta("like_these_brier", qlogis(brier[1, ]), brier[2, ] / (brier[1, ] * (1 - brier[1, ]))^2, plogis)
meta("like_these_dice", sapply(at_site, function(at) mean(at$dice)), sapply(at_site, function(at) var(at$dice) / nrow(at)))
tight <- glm.control(epsilon = 1e-14, maxit = 100)
# slope: one step of the conditional likelihood (saddlepoint) from the slope of all
common <- coef(glm(label ~ qlogis(network), binomial, rows, control = tight))[2]
step <- sapply(at_site, function(at) {
  x <- qlogis(at$network); p <- fitted(glm(label ~ offset(common * x), binomial, at, control = tight))
  w <- p * (1 - p); x <- x - weighted.mean(x, w); about <- sum(w * x^2)
  c(common + sum((at$label - p + w / sum(w) * (0.5 - p)) * x) / about, 1 / about)
})
meta("like_these_slope", step[1, ], step[2, ])
large <- lapply(at_site, function(at) glm(label ~ offset(qlogis(network)), binomial, at, control = tight))
meta("like_these_intercept", sapply(large, coef), sapply(large, vcov))
ratio <- sum(rows$label) / sum(rows$network) # the variance is that at the ratio of all hospitals
expected <- sapply(at_site, function(at) sum(at$network)); observed <- sapply(at_site, function(at) sum(at$label))
spread <- sapply(at_site, function(at) { p <- pmin(1, ratio * at$network); sum(p * (1 - p)) })
meta("like_these_ratio", log(observed / expected), spread / (ratio * expected)^2, exp)

# One hospital with most of the weight: lowered to 1 / sqrt(k), which is a larger variance with tau-squared kept
yi <- c(1.4, 1.1, 1.9, 0.8, 1.6, 1.2, 1.5, 2.0, 1.0, 1.3); vi <- c(0.002, rep(0.1, 9))
tau2 <- rma(yi, vi, method = "REML", control = list(threshold = 1e-14, maxiter = 10000))$tau2
weight <- 1 / (vi + tau2); weight[1] <- sum(weight[-1]) / (sqrt(10) - 1)
fit <- rma(yi, 1 / weight - tau2, tau2 = tau2, test = "knha")
put("heavy_effect", yi); put("heavy_variance", vi); put("heavy", c(fit$beta, fit$ci.lb, fit$ci.ub, tau2))

# All cases: robust (sandwich) variances by hand from glm, hospitals as strata
strata <- function(influence) sqrt(sum(sapply(split(influence, rows$site), function(i) length(i) * var(i))))
bounds <- function(value, error) c(value, value + c(-1, 1) * qnorm(0.975) * error)
all <- glm(label ~ qlogis(network), binomial, rows, control = tight)
put("these_slope", bounds(coef(all)[2], strata((model.matrix(all) * (rows$label - fitted(all))) %*% vcov(all)[, 2])))
all <- glm(label ~ offset(qlogis(network)), binomial, rows, control = tight)
put("these_intercept", bounds(coef(all), strata((rows$label - fitted(all)) * c(vcov(all)))))
put("these_ratio", exp(bounds(log(ratio), strata((rows$label - ratio * rows$network) / sum(rows$label)))))
squared <- (rows$network - rows$label)^2
put("these_brier", plogis(bounds(qlogis(mean(squared)), strata(squared / nrow(rows)) / (mean(squared) * (1 - mean(squared))))))
put("these_dice", bounds(mean(rows$dice), strata(rows$dice / nrow(rows))))

line <- function(name) sprintf('  "%s": [%s]', name, paste(sprintf("%.15g", out[[name]]), collapse = ", "))
cat("{\n", paste(sapply(names(out), line), collapse = ",\n"), "\n}\n", sep = "")
